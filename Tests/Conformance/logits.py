"""Ours to theirs: the logits that peers compute from what adze writes, against its own."""

from pathlib import Path
from typing import Callable

import llama_cpp
import numpy
import torch
from transformers import AutoModelForCausalLM, CompressedTensorsConfig

import compressed
import gguf_files
import rounding
from comparing import compare_logits
from models import Model
from report import Finding, Report, Subject
from tool import Adze
from written import DIRECTORIES

# Both compute in float32, in another order.
FLOAT = 1e-4
# Inputs rounded by both: a number between two codes that goes the other way moves the numbers behind it past their own
# middles, so that after some layers the roundings are others. The limit is this many times what rounding alone does.
ROUNDED_INPUTS = 1.5
# llama.cpp rounds the inputs of layers (to 8-bit integers in blocks for quantized ones). The limit is this many times
# what such rounding alone does to the same weights in transformers.
INPUT_ROUNDING = 2

# The peer decompresses these to bfloat16, so that Adze is given its own weights in bfloat16, too.
ROUNDED_BY_PEER = ["nvfp4"]
# Why transformers cannot load what other engines of the layout do.
NOT_ON_A_CPU = {
    ("fp8", "fp8_e4m3 tensor"): "transformers names scales of whole tensors weight_scale_inv, vLLM, whose layout this is, "
    "weight_scale; see the rows of Fp8Dequantize",
    ("fp8", "fp8_e4m3 channel"): "fbgemm_fp8 wants a GPU in transformers",
}
TRANSFORMERS = ["compressed-tensors", "fp8"]
LLAMA_TYPES = ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "iq4_nl", "mxfp4"]
PEER_TYPES = ["ALL_F32", "MOSTLY_F16", "MOSTLY_BF16", "MOSTLY_Q4_0", "MOSTLY_Q8_0", "MOSTLY_Q2_K", "MOSTLY_Q3_K_M"]
PEER_TYPES += ["MOSTLY_Q4_K_M", "MOSTLY_Q5_K_M", "MOSTLY_Q6_K", "MOSTLY_IQ4_NL", "MOSTLY_IQ4_XS", "MOSTLY_IQ3_S"]
PEER_TYPES += ["MOSTLY_IQ2_XS", "MOSTLY_TQ2_0"]
LLAMA_TYPES_OF_256 = ["q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_xs", "tq1_0", "tq2_0", "nvfp4"]


def check(report: Report, adze: Adze, acorn: Model, tiny: Model):
    for model in (acorn, tiny):
        check_plain(report, adze, model)
    check_activations(report, adze, acorn)
    for container, codecs, _, _ in DIRECTORIES:
        if container in TRANSFORMERS:
            for name, codec, options in codecs:
                check_coded(report, adze, tiny, container, (name, codec, options))
    for model, codecs in ((acorn, LLAMA_TYPES), (tiny, LLAMA_TYPES_OF_256)):
        check_llama(report, adze, model, codecs)
    check_llama_files(report, adze, tiny)


def check_activations(report: Report, adze: Adze, model: Model):
    """Inputs that both round when the model runs: the executed arithmetic of one, the simulated one of the other."""
    for scheme in ("W8A8", "FP8_DYNAMIC"):

        def measure():
            written = adze.quantize(model.path, "coded", "--container", "compressed-tensors", "--scheme", scheme)
            ids = model.sample_ids()
            with compressed.symmetric_integers():
                theirs = transformers_logits(written, ids)
            exact = adze.logits(written, ids)
            found = adze.logits(written, ids, activations="auto")
            alone = compare_logits(exact, found, limit=0).difference
            note = f"rounded inputs alone {alone:.3g}, integers to 127 in both"
            return compare_logits(found, theirs, max(FLOAT, ROUNDED_INPUTS * alone), note)

        subject = Subject("compressed-tensors", f"{scheme}, run", "adze -> transformers", f"logits of {model.name}")
        report.check(subject, measure)


def check_plain(report: Report, adze: Adze, model: Model):
    for kind in ("f32", "f16", "bf16"):

        def measure():
            written = adze.convert(model.path, "plain", "--container", "safetensors", "--dtype", kind)
            ids = model.sample_ids()
            return compare_logits(adze.logits(written, ids), transformers_logits(written, ids), FLOAT)

        report.check(Subject("safetensors", kind, "adze -> transformers", f"logits of {model.name}"), measure)


def check_coded(report: Report, adze: Adze, model: Model, container: str, coding):
    name, codec, options = coding
    subject = Subject(container, name, "adze -> transformers", f"logits of {model.name}")
    if container not in adze.containers or codec.split("-")[0] not in adze.codecs:
        return report.missing(subject, "adze does not list the container or the codec")

    if reason := NOT_ON_A_CPU.get((container, name)):
        return report.not_run(subject, reason)
    # The pinned packages allocate unpacked zero points and then refuse the packed ones, in their own files as well;
    # decompressing while loading goes another way. Its products have the scales' type, hence the scales in float32.
    # For floats the other way would round activations, too, which Adze does not execute.
    is_float = not codec.startswith("int")
    decompress = container == "compressed-tensors" and ("asym" in name or is_float)
    precise = ["--scale-type", "f32"] if "asym" in name else []

    def measure():
        coded = ["--container", container, "--codec", codec, *options, *precise]
        written = adze.quantize(model.path, "coded", *coded)
        ids = model.sample_ids()
        notes = ["decompressed while loading"] if decompress or container == "fp8" else []
        notes += ["activations not rounded"] if is_float else []
        theirs = transformers_logits(written, ids, decompress=decompress)
        if codec in ROUNDED_BY_PEER:
            notes.append("weights in bfloat16 in both")
            written = adze.convert(written, "rounded", "--container", "safetensors", "--dequantize", "--dtype", "bf16")
        return compare_logits(adze.logits(written, ids), theirs, FLOAT, ", ".join(notes))

    report.check(subject, measure)


def check_llama(report: Report, adze: Adze, model: Model, codecs: list[str]):
    def row(codec: str, write: Callable[[], Path], known: bool = True):
        subject = Subject("gguf", codec, "adze -> llama.cpp", f"logits of {model.name}")
        report.check(subject, lambda: against_llama(adze, model, write()), known=known)

    for kind in ("f32", "f16", "bf16"):
        row(kind, lambda: adze.convert(model.path, "plain.gguf", "--dtype", kind))
    for codec in codecs:
        options = ["--container", "gguf", "--codec", codec]
        row(codec, lambda: adze.quantize(model.path, "coded.gguf", *options), codec in adze.codecs)


def check_llama_files(report: Report, adze: Adze, model: Model):
    """The same file, written by the peer, in both."""
    source = adze.fresh("peer-f32.gguf")
    gguf_files.write(model, source)
    for name in PEER_TYPES:
        path = adze.fresh("peer.gguf")
        gguf_files.quantize(source, path, getattr(llama_cpp, f"LLAMA_FTYPE_{name}"))
        kinds = gguf_files.types(path) - {"f32", "f16", "bf16"}
        subject = Subject("gguf", name.removeprefix("MOSTLY_"), "llama.cpp -> adze", f"logits of {model.name}")
        report.check(subject, lambda: against_llama(adze, model, path), known=kinds <= adze.codecs)


def against_llama(adze: Adze, model: Model, path: Path) -> Finding:
    ids = model.sample_ids(rows=1)
    ours, theirs = adze.logits(path, ids), llama_logits(path, ids)
    weights = gguf_files.weights(path, model.config)
    types = gguf_files.matrix_types(path, model.config)
    exact, rounded = rounding.logits(model, weights, ids), rounding.logits(model, weights, ids, types)
    alone = compare_logits(exact, rounded, limit=0).difference
    note = f"rounded inputs alone {alone:.3g}" if alone else ""
    return compare_logits(ours, theirs, max(FLOAT, INPUT_ROUNDING * alone), note)


def transformers_logits(path: Path, ids: torch.Tensor, decompress: bool = False) -> torch.Tensor:
    options = {"quantization_config": CompressedTensorsConfig(dequantize=True)} if decompress else {}
    # What is decompressed comes in float32, what was plain keeps its type: all in float32 then.
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, **options).to(torch.float32)
    with torch.no_grad():
        return model(ids).logits.to(torch.float32)


def llama_logits(path: Path, ids: torch.Tensor) -> torch.Tensor:
    model = llama_cpp.Llama(
        str(path),
        n_ctx=ids.shape[1],
        n_batch=ids.shape[1],
        n_threads=1,
        n_threads_batch=1,
        logits_all=True,
        flash_attn=False,
        type_k=llama_cpp.GGML_TYPE_F32,
        type_v=llama_cpp.GGML_TYPE_F32,
        verbose=False,
    )
    rows = []
    for row in ids.tolist():
        model.reset()
        model.eval(row)
        rows.append(numpy.array(model.scores[: len(row)]))
    model.close()
    return torch.from_numpy(numpy.stack(rows))
