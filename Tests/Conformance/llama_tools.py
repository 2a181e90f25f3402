"""Files of llama.cpp's own programs, when a folder with them is given: importance matrices and bases of logits, both ways."""

import json
import re
import struct
import subprocess
from pathlib import Path

import gguf
import numpy

import models
from models import Model
from report import Finding, Report, Subject
from tool import Adze

WINDOWS, LENGTH = 4, 128
# Adze keeps what goes from one layer to the next in bfloat16 while it calibrates: 2^-8 an activation.
SUMS = 0.01
# Codes of 16 bits over some 16 nats or more, and logits of two programs.
DIVERGENCE = 1e-4


def check(report: Report, adze: Adze, acorn: Model, tools: Path | None):
    base = Subject("KL base", "", "", "divergence in nats")
    if tools is None:
        reason = "llama-imatrix and llama-perplexity are no part of llama-cpp-python; --llama-tools names their folder"
        report.not_run(Subject("imatrix", "gguf, dat", "llama-imatrix <-> adze", ""), reason)
        return report.not_run(Subject("KL base", "", "llama-perplexity <-> adze", ""), reason)
    model = adze.convert(acorn.path, "tools.gguf", "--dtype", "f32")
    text = adze.work / "tools.txt"
    text.write_text("\n" + models.TEXTS[0].read_text()[:20_000])
    for form in ("gguf", "dat"):
        check_imatrix(report, adze, tools, model, text, form)
    options = ["-c", LENGTH, "--chunks", WINDOWS]

    def theirs():
        path = adze.fresh("theirs.kld")
        run(tools / "llama-perplexity", "-m", model, "-f", text, *options, "--kl-divergence-base", path)
        told = json.loads(adze.run("perplexity", model, "--corpus", text, *options, "--base", path, "--json"))
        return Finding(abs(told["kl_mean"]), DIVERGENCE, f"top-1 {told['top1_agreement']:.1%}")

    def ours():
        path = adze.fresh("ours.kld")
        adze.run("perplexity", model, "--corpus", text, *options, "--save-base", path)
        told = run(
            tools / "llama-perplexity", "-m", model, "-f", text, *options, "--kl-divergence-base", path, "--kl-divergence"
        )
        found = re.search(r"Mean\s+KLD:\s*(-?[\d.]+)", told)
        return Finding(abs(float(found.group(1))), DIVERGENCE)

    report.check(Subject(base.container, "", "llama-perplexity -> adze", base.compared), theirs)
    report.check(Subject(base.container, "", "adze -> llama-perplexity", base.compared), ours)


def check_imatrix(report: Report, adze: Adze, tools: Path, model: Path, text: Path, form: str):
    peer, ours = adze.work / f"theirs.{form}", adze.work / f"ours.{form}"

    def row(direction: str, compared: str, measure):
        report.check(Subject("imatrix", form, direction, compared), measure)

    def values():
        peer.unlink(missing_ok=True)
        run(
            tools / "llama-imatrix", "-m", model, "-f", text, "-c", LENGTH, "--chunks", WINDOWS, "-o", peer,
            "--output-format", form, "--no-ppl", "-ctk", "f32", "-ctv", "f32", "-fa", "off", "-t", 1,
        )  # fmt: skip
        ours.unlink(missing_ok=True)
        # llama-imatrix cuts windows after it has put the begin-of-text token in front, Adze before: a token more makes
        # them the same. That a digit is a token of its own before a line break is how the tokenizer splits.
        longer = adze.work / "longer.txt"
        longer.write_text("0" + text.read_text())
        options = ["--corpus", longer, "--samples", WINDOWS, "--length", LENGTH]
        adze.run("calibrate", model, *options, "-o", ours, "--format", "imatrix" if form == "gguf" else "imatrix-dat")
        return nearness(importance(peer, form), importance(ours, form))

    def doubled():
        """What the peer wrote, read by Adze, added to itself and written in the other form."""
        other = "dat" if form == "gguf" else "gguf"
        kept = adze.fresh(f"doubled.{other}")
        adze.run("calibrate", "--merge", peer, "--merge", peer, "-o", kept)
        return nearness(importance(peer, form), importance(kept, other), limit=1e-6)

    def used():
        target = adze.fresh("used.gguf")
        run(tools / "llama-quantize", "--imatrix", ours, model, target, "Q4_0", "1")
        fields = gguf.GGUFReader(target).fields
        count = int(fields["quantize.imatrix.entries_count"].contents())
        return Finding(float(count != len(importance(ours, form))), note=f"{count} entries used")

    row("llama-imatrix = adze", "mean squares", values)
    row("llama-imatrix -> adze", "mean squares", doubled)
    row("adze -> llama-quantize", "entries not used", used)


def importance(path: Path, form: str) -> dict[str, numpy.ndarray]:
    """Mean square of each input, by the name of the weight."""
    if form == "gguf":
        tensors = {t.name: t.data.flatten() for t in gguf.GGUFReader(path).tensors}
        names = [n.removesuffix(".in_sum2") for n in tensors if n.endswith(".in_sum2")]
        return {name: tensors[f"{name}.in_sum2"] / tensors[f"{name}.counts"][0] for name in names}
    data, place, found = path.read_bytes(), 4, {}
    for _ in range(struct.unpack_from("<i", data)[0]):
        (length,) = struct.unpack_from("<i", data, place)
        name = data[place + 4 : place + 4 + length].decode()
        calls, count = struct.unpack_from("<ii", data, place + 4 + length)
        place += 12 + length
        found[name] = numpy.frombuffer(data, "<f4", count, place) / calls
        place += 4 * count
    return found


def nearness(theirs: dict, ours: dict, limit: float = SUMS) -> Finding:
    """The largest difference, relative to the largest mean square of the weight."""
    if theirs.keys() - ours.keys():
        raise ValueError(f"adze has nothing for {sorted(theirs.keys() - ours.keys())[:3]}")
    worst = max(float(abs(ours[name] - theirs[name]).max() / abs(theirs[name]).max()) for name in theirs)
    return Finding(worst, limit, f"{len(theirs)} weights")


def run(program: Path, *arguments) -> str:
    done = subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise RuntimeError(f"{program.name}, status {done.returncode}: {done.stderr[-300:]}")
    return done.stdout + done.stderr
