"""Files of the peers, read by adze and written again: the same bytes where the format fixes them."""

from pathlib import Path

import gguf
import llama_cpp
from safetensors import safe_open

import compressed
import gguf_files
from models import Model
from report import Finding, Report, Subject
from tool import Adze

FILE_TYPES = ["ALL_F32", "MOSTLY_BF16", "MOSTLY_Q4_0", "MOSTLY_Q8_0", "MOSTLY_Q4_K_M", "MOSTLY_Q6_K"]
FILE_TYPES += ["MOSTLY_IQ4_XS", "MOSTLY_IQ3_S", "MOSTLY_IQ2_XXS", "MOSTLY_IQ1_M", "MOSTLY_TQ1_0", "MOSTLY_TQ2_0"]


def check(report: Report, adze: Adze, model: Model):
    source = adze.fresh("peer-f32.gguf")
    gguf_files.write(model, source)
    for name in FILE_TYPES:
        peer = adze.fresh("peer.gguf")
        gguf_files.quantize(source, peer, getattr(llama_cpp, f"LLAMA_FTYPE_{name}"))
        known = all(k in adze.codecs or k in ("f32", "bf16") for k in gguf_files.types(peer))
        codec = name.removeprefix("MOSTLY_")
        kept: list[Path] = []

        def tensors():
            kept.append(adze.convert(peer, "again.gguf"))
            return differing_tensors(peer, kept[0])

        subject = Subject("gguf", codec, "llama.cpp -> adze -> gguf", "tensors that differ")
        if report.check(subject, tensors, known):
            subject = Subject("gguf", codec, "llama.cpp -> adze -> gguf", "metadata that differs")
            report.check(subject, lambda: differing_metadata(peer, kept[0]))
            subject = Subject("gguf", codec, "llama.cpp -> adze -> gguf", "files that differ")
            report.check(subject, lambda: Finding(float(peer.read_bytes() != kept[0].read_bytes())))

    for name in ("W4A16", "W4A16_ASYM", "INT8", "FP8", "FP8_DYNAMIC", "FP8_BLOCK", "NVFP4", "NVFP4A16", "MXFP4", "MXFP8A16"):

        def again():
            folder = adze.fresh("peer")
            compressed.write(model, folder, compressed.preset(name))
            kept = adze.convert(folder, "again", "--container", "compressed-tensors")
            return differing_plain(folder / "model.safetensors", kept / "model.safetensors")

        direction = "compressed-tensors -> adze -> compressed-tensors"
        report.check(Subject("compressed-tensors", name, direction, "tensors that differ"), again)

    def plain():
        written = adze.convert(model.path, "again", "--container", "safetensors")
        return differing_plain(model.path / "model.safetensors", written / "model.safetensors")

    report.check(Subject("safetensors", "bf16", "safetensors -> adze -> safetensors", "tensors that differ"), plain)


def differing_tensors(peer: Path, again: Path) -> Finding:
    theirs = {t.name: t for t in gguf.GGUFReader(peer).tensors}
    ours = {t.name: t for t in gguf.GGUFReader(again).tensors}
    names = theirs.keys() ^ ours.keys()
    for name in theirs.keys() & ours.keys():
        left, right = theirs[name], ours[name]
        same = left.tensor_type == right.tensor_type and list(left.shape) == list(right.shape)
        if not same or left.data.tobytes() != right.data.tobytes():
            names |= {name}
    return Finding(len(names), note=", ".join(sorted(names)[:4]) or f"{len(theirs)} tensors")


def differing_metadata(peer: Path, again: Path) -> Finding:
    theirs, ours = _fields(peer), _fields(again)
    keys = {key for key in theirs.keys() | ours.keys() if theirs.get(key) != ours.get(key)}
    told = [f"{key}: {str(theirs.get(key))[:30]} became {str(ours.get(key))[:30]}" for key in sorted(keys)]
    return Finding(len(keys), note="; ".join(told[:6]) or f"{len(theirs)} entries")


def differing_plain(peer: Path, again: Path) -> Finding:
    with safe_open(peer, "pt") as theirs, safe_open(again, "pt") as ours:
        names = set(theirs.keys()) ^ set(ours.keys())
        for name in set(theirs.keys()) & set(ours.keys()):
            left, right = theirs.get_tensor(name), ours.get_tensor(name)
            if left.dtype != right.dtype or not left.equal(right):
                names.add(name)
        return Finding(len(names), note=", ".join(sorted(names)[:4]))


def _fields(path: Path) -> dict[str, object]:
    fields = gguf.GGUFReader(path).fields
    return {
        name: ([int(kind) for kind in field.types], field.contents())
        for name, field in fields.items()
        if not name.startswith("GGUF.")
    }
