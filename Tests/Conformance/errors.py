"""Weighted errors of encoders against those of llama-quantize, on every matrix of a trained model, with llama.cpp's own tools."""

import os
from pathlib import Path

import gguf
import numpy

from gguf.quants import dequantize
from llama_tools import importance, run
from report import Finding, Report, Subject
from tool import Adze

SHARED = Path(os.environ.get("ADZE_SHARED", ""))
K_QUANTS = ["q2_k", "q3_k", "q4_k", "q5_k", "q6_k"]
# IQ1 types are for reading.
UNEVEN = ["iq4_nl", "iq4_xs", "iq3_s", "iq3_xxs", "iq2_s", "iq2_xs", "iq2_xxs"]
# llama-quantize does not make these without importance.
NEEDY = ["iq2_s", "iq2_xs", "iq2_xxs", "iq3_xxs"]


def check(report: Report, adze: Adze, tools: Path | None):
    birch, corpus = SHARED / "models" / "birch", SHARED / "corpora" / "encyclopedia.calibration.txt"
    subject = Subject("gguf", "k, iq", "adze against llama-quantize", "largest ratio of weighted errors")
    if tools is None or not birch.is_dir() or not corpus.is_file():
        return report.not_run(subject, "llama.cpp's tools (--llama-tools) or the reference model (ADZE_SHARED) are not here")
    source = adze.convert(birch, "errors.gguf")
    text = adze.work / "errors.txt"
    text.write_text(corpus.read_text()[:60_000])
    measured = adze.fresh("errors-imatrix.gguf")
    run(tools / "llama-imatrix", "-m", source, "-f", text, "-c", 512, "--chunks", 12, "-o", measured, "--no-ppl")
    weights = values(source)
    means = importance(measured, "gguf")
    for kind in K_QUANTS + UNEVEN:
        for weighted in (True, False):
            if not weighted and kind in NEEDY:
                continue
            note = "by importance" if weighted else "plain"
            subject = Subject("gguf", f"{kind}, {note}", "adze against llama-quantize", "largest ratio of weighted errors")
            report.check(subject, lambda: ratio(adze, tools, source, birch, measured, weights, means, kind, weighted))


def ratio(adze: Adze, tools: Path, source: Path, birch: Path, measured: Path, weights, means, kind, weighted) -> Finding:
    theirs, options = adze.fresh("errors-theirs.gguf"), ["--imatrix", measured] if weighted else []
    run(tools / "llama-quantize", *options, "--pure", "--token-embedding-type", "q8_0", source, theirs, FILE_TYPES.get(kind, kind.upper()))
    statistics = ["--statistics", measured] if weighted else []
    ours = adze.quantize(
        birch, "errors-ours.gguf", "--container", "gguf", "--codec", kind, "--scale-search", "least-squares", *statistics
    )
    first, second = errors(ours, kind, weights, means, weighted), errors(theirs, kind, weights, means, weighted)
    if first.keys() - second.keys():
        raise ValueError(f"llama-quantize has other types for {sorted(first.keys() - second.keys())[:3]}")
    ratios = sorted((first[name] / second[name], name) for name in first)
    note = f"{len(ratios)} matrices, mean {sum(r for r, _ in ratios) / len(ratios):.3f}, worst {ratios[-1][1]}"
    return Finding(ratios[-1][0], 1.0, note)


# Names of llama-quantize where they are not those of the types.
FILE_TYPES = {"q3_k": "Q3_K_M", "q4_k": "Q4_K_M", "q5_k": "Q5_K_M", "iq2_s": "IQ2_M"}


def values(path: Path) -> dict[str, numpy.ndarray]:
    tensors = [t for t in gguf.GGUFReader(path).tensors if t.name.startswith("blk.") and len(t.shape) == 2]
    return {t.name: dequantize(t.data, t.tensor_type).astype(numpy.float32) for t in tensors}


def errors(path: Path, kind: str, weights, means, weighted: bool) -> dict[str, float]:
    found = {}
    for tensor in gguf.GGUFReader(path).tensors:
        if tensor.name in weights and tensor.tensor_type.name.lower() == kind:
            difference = dequantize(tensor.data, tensor.tensor_type).astype(numpy.float64) - weights[tensor.name]
            factor = means[tensor.name] if weighted else 1.0
            found[tensor.name] = float((difference * difference * factor).sum())
    return found
