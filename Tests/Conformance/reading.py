"""Theirs to ours: adze reads what the peers write, and both dequantize it to the same weights."""

import functools
import importlib.util
import os
from pathlib import Path
from typing import Callable

import gguf
import llama_cpp
import torch
from compressed_tensors.quantization import QuantizationScheme
from safetensors.torch import load_file, save_file

import compressed
import gguf_files
import layouts
from comparing import ONE_ROUNDING, compare_logits, compare_weights
from models import Model
from report import Report, Subject
from tool import Adze

# Types of llama.cpp's quantizer, by what it calls them.
FILE_TYPES = """ALL_F32 MOSTLY_F16 MOSTLY_BF16 MOSTLY_Q4_0 MOSTLY_Q4_1 MOSTLY_Q5_0 MOSTLY_Q5_1 MOSTLY_Q8_0
MOSTLY_Q2_K MOSTLY_Q2_K_S MOSTLY_Q3_K_S MOSTLY_Q3_K_M MOSTLY_Q3_K_L MOSTLY_Q4_K_S MOSTLY_Q4_K_M MOSTLY_Q5_K_S
MOSTLY_Q5_K_M MOSTLY_Q6_K MOSTLY_IQ4_NL MOSTLY_IQ4_XS MOSTLY_IQ3_XXS MOSTLY_IQ3_XS MOSTLY_IQ3_S MOSTLY_IQ3_M
MOSTLY_IQ2_XXS MOSTLY_IQ2_XS MOSTLY_IQ2_S MOSTLY_IQ2_M MOSTLY_IQ1_S MOSTLY_IQ1_M MOSTLY_TQ1_0 MOSTLY_TQ2_0
MOSTLY_NVFP4 MOSTLY_MXFP4_MOE""".split()
WRITER_TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ1_0", "TQ2_0", "MXFP4"]

COMPRESSED: list[tuple[str, Callable[[], QuantizationScheme]]] = [
    ("W4A16", functools.partial(compressed.preset, "W4A16")),
    ("W4A16_ASYM", functools.partial(compressed.preset, "W4A16_ASYM")),
    ("W8A16", functools.partial(compressed.preset, "W8A16")),
    ("W8A8 (INT8)", functools.partial(compressed.preset, "INT8")),
    ("FP8 static", functools.partial(compressed.preset, "FP8")),
    ("FP8_DYNAMIC", functools.partial(compressed.preset, "FP8_DYNAMIC")),
    ("FP8_BLOCK", functools.partial(compressed.preset, "FP8_BLOCK")),
    ("NVFP4", functools.partial(compressed.preset, "NVFP4")),
    ("NVFP4A16", functools.partial(compressed.preset, "NVFP4A16")),
    ("MXFP4", functools.partial(compressed.preset, "MXFP4")),
    ("MXFP4A16", functools.partial(compressed.preset, "MXFP4A16")),
    ("MXFP8A16", functools.partial(compressed.preset, "MXFP8A16")),
]
COMPRESSED += [
    (
        f"int{bits} {'sym' if symmetric else 'asym'} {f'g{group}' if group else 'rows'}",
        functools.partial(compressed.integers, bits, symmetric, group),
    )
    for bits in (2, 3, 4, 5, 6, 7, 8)
    for symmetric, group in ((True, 32), (False, 32), (True, None))
]


def check(report: Report, adze: Adze, tiny: Model):
    check_safetensors(report, adze, tiny)
    check_gguf_writer(report, adze, tiny)
    check_split(report, adze, tiny)
    check_llama_quantize(report, adze, tiny)
    check_compressed(report, adze, tiny)
    if importlib.util.find_spec("mlx"):
        check_mlx(report, adze, tiny)
    if shared := os.environ.get("ADZE_SHARED"):
        check_fixtures(report, adze, Path(shared) / "fixtures")


def check_safetensors(report: Report, adze: Adze, model: Model):
    for kind in (torch.float32, torch.float16, torch.bfloat16):

        def measure():
            folder = adze.fresh("peer")
            folder.mkdir()
            tensors = {n: t.to(kind) for n, t in load_file(model.path / "model.safetensors").items()}
            save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
            (folder / "config.json").write_text((model.path / "config.json").read_text())
            return compare_weights(adze.dequantized(folder), layouts.plain(folder), rounding=0)

        name = str(kind).removeprefix("torch.")
        report.check(Subject("safetensors", name, "safetensors -> adze", f"weights of {model.name}"), measure)


def check_gguf_writer(report: Report, adze: Adze, model: Model):
    for kind in WRITER_TYPES:

        def measure():
            path = adze.fresh("peer.gguf")
            gguf_files.write(model, path, gguf.GGMLQuantizationType[kind])
            return compare_weights(adze.dequantized(path), gguf_files.weights(path, model.config))

        subject = Subject("gguf", kind.lower(), "gguf-py -> adze", f"weights of {model.name}")
        report.check(subject, measure, known=is_known(adze, [kind.lower()]))


def check_split(report: Report, adze: Adze, model: Model):
    """Parts that gguf-py wrote are one model to Adze and to llama.cpp."""
    folder = adze.fresh("split")
    folder.mkdir()
    ids = model.sample_ids(rows=1)

    def first() -> Path:
        parts = sorted(folder.glob("parts-*.gguf"))
        if len(parts) < 3:
            raise ValueError(f"{len(parts)} parts")
        return parts[0]

    def weights():
        gguf_files.write(model, folder / "parts.gguf", tensors_in_part=6)
        gguf_files.write(model, folder / "whole.gguf")
        return compare_weights(
            adze.dequantized(first()), gguf_files.weights(folder / "whole.gguf", model.config), rounding=0
        )

    def logits():
        import logits as peers

        return compare_logits(adze.logits(first(), ids), peers.llama_logits(first(), ids), limit=1e-4)

    report.check(Subject("gguf", "f32, in parts", "gguf-py -> adze", f"weights of {model.name}"), weights)
    report.check(Subject("gguf", "f32, in parts", "gguf-py -> adze = llama.cpp", f"logits of {model.name}"), logits)


def check_llama_quantize(report: Report, adze: Adze, model: Model):
    source = adze.fresh("peer-f32.gguf")
    gguf_files.write(model, source)
    for name in FILE_TYPES:
        path = adze.fresh("peer.gguf")
        subject = Subject(
            "gguf", name.removeprefix("MOSTLY_"), "llama.cpp -> adze", f"weights of {model.name}"
        )
        kinds: set[str] = set()

        def measure():
            return compare_weights(
                adze.dequantized(path), gguf_files.weights(path, model.config), note=", ".join(sorted(kinds))
            )

        try:
            gguf_files.quantize(source, path, getattr(llama_cpp, f"LLAMA_FTYPE_{name}"))
            kinds |= gguf_files.types(path)
        except (RuntimeError, AttributeError) as error:
            print(f"        llama.cpp does not write {name}: {error}")
            continue
        report.check(subject, measure, known=is_known(adze, kinds))


def check_compressed(report: Report, adze: Adze, model: Model):
    for name, scheme in COMPRESSED:

        def measure():
            folder = adze.fresh("peer")
            compressed.write(model, folder, scheme())
            # A quotient in place of a product makes it two roundings.
            rounding = 2 * ONE_ROUNDING if name.startswith("NVFP4") else ONE_ROUNDING
            return compare_weights(adze.dequantized(folder), compressed.weights(folder), rounding=rounding)

        direction = "compressed-tensors -> adze"
        report.check(Subject("compressed-tensors", name, direction, f"weights of {model.name}"), measure)


def check_mlx(report: Report, adze: Adze, model: Model):
    """Checkpoints of MLX: its own quantizer's arrays under the names that mlx-lm gives them."""
    import mlx_files

    for bits in (2, 3, 4, 5, 6, 8):
        for group in (32, 64, 128):

            def measure():
                folder = adze.fresh("peer")
                mlx_files.write(model, folder, bits, group)
                return compare_weights(adze.dequantized(folder), layouts.mlx_library(folder))

            subject = Subject("mlx", f"affine{bits} g{group}", "mlx -> adze", f"weights of {model.name}")
            report.check(subject, measure, known=f"affine{bits}" in adze.codecs)


def check_fixtures(report: Report, adze: Adze, folder: Path):
    """Files of other tools, with the logits of their dequantized weights in float32."""
    for path in sorted(folder.glob("*/expected.safetensors")):

        def measure():
            expected = load_file(path)
            found = adze.logits(path.parent, expected["input_ids"])
            return compare_logits(found, expected["logits"], limit=1e-4, note="in standard deviations")

        report.check(Subject("fixture", path.parent.name, "its tool -> adze", "logits"), measure)


def is_known(adze: Adze, kinds) -> bool:
    return all(kind in adze.codecs or kind in ("f32", "f16", "bf16") for kind in kinds)
