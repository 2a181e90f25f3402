"""The perplexity of a real model's GGUF, in llama.cpp and in Adze, when a folder with the model and a text is given."""

import json
import math
import os
from pathlib import Path

import llama_cpp
import numpy

from report import Finding, Report, Subject
from tool import Adze

CODECS = ["q8_0", "q6_k", "q5_k", "q4_k", "q4_0", "q3_k", "iq4_xs"]
LENGTH = 512
# Half a percent: both round the inputs of layers to 8 bits, in their own ways.
LIMIT = 0.005


def check(report: Report, adze: Adze, windows: int):
    shared = Path(os.environ["ADZE_SHARED"]) if os.environ.get("ADZE_SHARED") else None
    model = shared / "models/birch" if shared else None
    if model is None or not model.is_dir():
        reason = "ADZE_SHARED names no folder with models/birch"
        return report.not_run(Subject("gguf", ", ".join(CODECS), "adze = llama.cpp", "perplexity of birch"), reason)
    text = shared / "corpora/encyclopedia.test.txt"
    for codec in CODECS:

        def measure():
            path = adze.quantize(model, "birch.gguf", "--container", "gguf", "--codec", codec)
            options = ["--corpus", text, "-c", LENGTH, "--chunks", windows, "--json"]
            ours = json.loads(adze.run("perplexity", path, *options))["perplexity"]
            theirs = perplexity(path, text, windows)
            return Finding(abs(ours / theirs - 1), LIMIT, f"{windows} windows: adze {ours:.4f}, llama.cpp {theirs:.4f}")

        report.check(Subject("gguf", codec, "adze = llama.cpp", "perplexity of birch"), measure)


def perplexity(path: Path, text: Path, windows: int) -> float:
    """As llama-perplexity has it: windows that do not overlap, the begin-of-text token in the place of each one's first,
    the second half scored."""
    model = llama_cpp.Llama(
        str(path), n_ctx=LENGTH, n_batch=LENGTH, n_threads=1, n_threads_batch=1, logits_all=True, verbose=False
    )
    tokens = model.tokenize(text.read_bytes(), add_bos=True, special=False)
    loss, count = 0.0, 0
    for window in range(windows):
        ids = tokens[window * LENGTH : (window + 1) * LENGTH]
        ids[0] = model.token_bos()
        model.reset()
        model.eval(ids)
        rows = numpy.array(model.scores[LENGTH // 2 : LENGTH - 1], dtype=numpy.float64)
        rows -= rows.max(1, keepdims=True)
        chosen = rows[numpy.arange(len(rows)), ids[LENGTH // 2 + 1 :]]
        loss += float((numpy.log(numpy.exp(rows).sum(1)) - chosen).sum())
        count += len(rows)
    model.close()
    return math.exp(loss / count)
