"""Ours to theirs: weights of what adze writes, as the peers read them."""

import importlib.util
from pathlib import Path
from typing import Callable

import compressed
import gguf_files
import layouts
from comparing import ONE_ROUNDING, compare_weights
from models import Model
from report import Report, Subject
from tool import Adze

BLOCKS_OF_32 = ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "iq4_nl", "mxfp4"]
BLOCKS_OF_256 = ["q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_xs", "tq1_0", "tq2_0", "nvfp4"]
# IQ1 types are for reading: nobody writes them well without training.
CODEBOOKS = ["iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s"]

INTEGERS = [
    (
        f"int{bits} {symmetry} {'rows' if size < 0 else f'g{size}'}",
        f"int{bits}",
        ["--group-size", size, f"--{symmetry}"],
    )
    for bits in (2, 3, 4, 5, 6, 7, 8)
    for symmetry, size in (("sym", 64), ("asym", 64), ("sym", -1))
]
GPTQ_CODECS = [entry for entry in INTEGERS if entry[1] in ("int2", "int3", "int4", "int8")]
FP8_TENSOR = ("fp8_e4m3 tensor", "fp8_e4m3-tensor", [])
FP8_ROWS = ("fp8_e4m3 channel", "fp8_e4m3", [])
FP8_BLOCKS = ("fp8_e4m3 128x128", "fp8_e4m3", ["--group-size", 128])
AFFINE = [(f"affine{bits} g64", f"affine{bits}", ["--group-size", 64]) for bits in (2, 3, 4, 5, 6, 8)]

# Container, codecs (name in the table, codec, options), reader and who that is.
DIRECTORIES: list[tuple[str, list, Callable, str]] = [
    ("compressed-tensors", INTEGERS, compressed.weights, "compressed-tensors"),
    (
        "compressed-tensors",
        [FP8_TENSOR, FP8_ROWS, FP8_BLOCKS, ("nvfp4", "nvfp4", []), ("mxfp4", "mxfp4", [])],
        compressed.weights,
        "compressed-tensors",
    ),
    ("gptq", GPTQ_CODECS, layouts.gptq, "formula"),
    ("gptq-v2", GPTQ_CODECS, layouts.gptq, "formula"),
    ("awq", [INTEGERS[7], INTEGERS[6]], layouts.awq, "formula"),
    ("fp8", [FP8_TENSOR, FP8_ROWS, FP8_BLOCKS], layouts.fp8, "torch.float8_e4m3fn"),
    ("modelopt", [FP8_TENSOR, FP8_ROWS, ("nvfp4", "nvfp4", [])], layouts.modelopt, "torch.float8_e4m3fn, formula"),
    ("mlx", AFFINE, layouts.mlx, "formula"),
]


def check(report: Report, adze: Adze, acorn: Model, tiny: Model):
    check_plain(report, adze, acorn)
    check_gguf(report, adze, acorn, tiny)
    check_parts(report, adze, tiny)
    readers = list(DIRECTORIES)
    if importlib.util.find_spec("mlx"):
        readers.append(("mlx", AFFINE, layouts.mlx_library, "mlx"))
    for container, codecs, reader, peer in readers:
        for name, codec, options in codecs:
            check_directory(report, adze, tiny, container, (name, codec, options), reader, peer)


def check_plain(report: Report, adze: Adze, model: Model):
    for kind in ("f32", "f16", "bf16"):

        def measure():
            written = adze.convert(model.path, "plain", "--container", "safetensors", "--dtype", kind)
            return compare_weights(adze.dequantized(written), layouts.plain(written), rounding=0)

        report.check(Subject("safetensors", kind, "adze -> safetensors", f"weights of {model.name}"), measure)


def check_gguf(report: Report, adze: Adze, acorn: Model, tiny: Model):
    def row(model: Model, codec: str, write: Callable[[], Path], known: bool = True):
        def measure():
            written = write()
            found = gguf_files.types(written)
            if codec not in found:
                raise ValueError(f"asked for {codec}, found {sorted(found)}")
            return compare_weights(adze.dequantized(written), gguf_files.weights(written, model.config))

        subject = Subject("gguf", codec, "adze -> gguf-py", f"weights of {model.name}")
        report.check(subject, measure, known=known)

    for kind in ("f32", "f16", "bf16"):
        row(acorn, kind, lambda: adze.convert(acorn.path, "plain.gguf", "--dtype", kind))
    for model, codecs in ((acorn, BLOCKS_OF_32), (tiny, BLOCKS_OF_32 + BLOCKS_OF_256 + CODEBOOKS)):
        for codec in codecs:
            if codec in CODEBOOKS and codec not in adze.codecs:
                continue  # These need not be written.
            options = ["--container", "gguf", "--codec", codec]
            row(model, codec, lambda: adze.quantize(model.path, "coded.gguf", *options), codec in adze.codecs)


def check_parts(report: Report, adze: Adze, model: Model):
    """Parts that adze wrote are one model to llama.cpp, and to gguf-py those that its own writer would make."""
    folder = adze.fresh("parts")
    folder.mkdir()
    ids = model.sample_ids(rows=1)

    def written(options: list) -> list[Path]:
        adze.convert(model.path, "parts/m.gguf", "--dtype", "f32", *options)
        parts = sorted(folder.glob("m-*.gguf"))
        if len(parts) < 3:
            raise ValueError(f"{len(parts)} parts")
        return parts

    def clear():
        for part in folder.glob("m-*.gguf"):
            part.unlink()

    def weights():
        clear()
        parts = written(["--split-max-tensors", 6])
        if any(len(gguf_files.gguf.GGUFReader(part).tensors) > 6 for part in parts):
            raise ValueError("a part holds more than 6 tensors")
        found = {}
        for part in parts:
            found.update(gguf_files.weights(part, model.config))
        return compare_weights(adze.dequantized(parts[0]), found, rounding=0)

    def logits():
        import logits as peers

        clear()
        parts = written(["--split-max-size", "100K"])
        whole = adze.convert(model.path, "parts-whole.gguf", "--dtype", "f32")
        return peers.compare_logits(peers.llama_logits(parts[0], ids), peers.llama_logits(whole, ids), limit=0)

    report.check(Subject("gguf", "f32, in parts", "adze -> gguf-py", f"weights of {model.name}"), weights)
    report.check(Subject("gguf", "f32, in parts", "adze -> llama.cpp", f"logits of {model.name}"), logits)


def check_directory(report: Report, adze: Adze, model: Model, container: str, coding, reader: Callable, peer: str):
    name, codec, options = coding
    subject = Subject(container, name, f"adze -> {peer}", f"weights of {model.name}")
    if container not in adze.containers:
        return report.missing(subject, f"adze does not list container {container}")
    if codec.split("-")[0] not in adze.codecs:
        return report.missing(subject, f"adze does not list codec {codec}")

    def measure():
        written = adze.quantize(
            model.path, "coded", "--container", container, "--codec", codec, *options
        )
        # A quotient in place of a product makes it two roundings.
        rounding = 2 * ONE_ROUNDING if codec == "nvfp4" else ONE_ROUNDING
        return compare_weights(adze.dequantized(written), reader(written), rounding=rounding)

    report.check(subject, measure)
