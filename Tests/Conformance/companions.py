"""Scales of activations and of the KV cache: kept where a layout has a place for them, under the names it has for them."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import compressed
from models import Model
from report import Finding, Report, Subject
from tool import Adze

SCALE = "self_attn.{0}_scale"
MODELOPT_SCALE = "self_attn.{0}_proj.{0}_scale"


def check(report: Report, adze: Adze, model: Model):
    folder = adze.fresh("peer")
    compressed.write(model, folder, compressed.preset("FP8"), compressed.cache())
    stored = load_file(folder / "model.safetensors")
    if not any(name.endswith(".k_scale") for name in stored):
        return report.not_run(Subject("compressed-tensors", "FP8, FP8 cache", "", ""), "the peer wrote no scales")

    def row(container: str, direction: str, measure):
        report.check(Subject(container, "FP8, FP8 cache", direction, "scales that differ"), measure)

    def same():
        kept = adze.convert(folder, "kept", "--container", "compressed-tensors")
        found = load_file(kept / "model.safetensors")
        schemes = [_scheme(folder), _scheme(kept)]
        return _differences(_scales(stored, SCALE), _scales(found, SCALE), int(schemes[0] != schemes[1]))

    def loaded():
        kept = adze.convert(folder, "kept", "--container", "compressed-tensors")
        theirs = AutoModelForCausalLM.from_pretrained(kept, dtype=torch.bfloat16)
        return _differences(_scales(stored, SCALE), _scales(dict(theirs.named_parameters()), SCALE))

    def other(container: str, template: str, told: list[str]):
        def measure():
            kept = adze.convert(folder, "kept", "--container", container)
            found = load_file(kept / "model.safetensors")
            config = (kept / "config.json").read_text()
            missing = [text for text in told if text not in config]
            if missing:
                raise ValueError(f"config.json does not say {missing}")
            return _differences(_scales(stored, SCALE), _scales(found, template))

        return measure

    row("compressed-tensors", "compressed-tensors -> adze -> compressed-tensors", same)
    row("compressed-tensors", "compressed-tensors -> adze -> transformers", loaded)
    row("fp8", "compressed-tensors -> adze -> fp8", other("fp8", SCALE, ['"activation_scheme": "static"']))
    modelopt = other("modelopt", MODELOPT_SCALE, ['"kv_cache_quant_algo": "FP8"', '"kv_cache_scheme"'])
    row("modelopt", "compressed-tensors -> adze -> modelopt", modelopt)


def _scales(tensors: dict[str, torch.Tensor], template: str) -> dict[str, float]:
    """Scales of inputs by module, and of keys and values under the first layout's names."""
    found = {}
    for name, tensor in tensors.items():
        for letter in "kv":
            if name.endswith(template.format(letter)):
                base = name.removesuffix(template.format(letter))
                found[base + SCALE.format(letter)] = float(tensor.flatten()[0])
        if name.endswith(".input_scale"):
            found[name] = float(tensor.flatten()[0])
    return found


def _scheme(path: Path) -> dict:
    scheme = json.loads((path / "config.json").read_text())["quantization_config"]["kv_cache_scheme"]
    return {key: scheme[key] for key in ("num_bits", "type", "strategy", "dynamic", "symmetric")}


def _differences(theirs: dict[str, float], ours: dict[str, float], more: int = 0) -> Finding:
    names = {name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name)}
    return Finding(len(names) + more, note=", ".join(sorted(names)[:3]) or f"{len(theirs)} scales")
