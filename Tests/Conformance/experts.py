"""The layouts of transformers' own loaders for MXFP4 (gpt-oss) and FP8, whose modules want a GPU and whose loading does not."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers.integrations.finegrained_fp8 import Fp8Dequantize
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

import layouts
from comparing import compare_weights
from models import Model
from report import Report, Subject
from tool import Adze

Tensors = dict[str, torch.Tensor]


def check(report: Report, adze: Adze, model: Model):
    def blocks():
        folder = adze.fresh("peer")
        write_mxfp4(model, adze, folder)
        return compare_weights(adze.dequantized(folder), read_mxfp4(folder))

    direction = "blocks -> adze, transformers"
    report.check(Subject("mxfp4", "gpt-oss blocks", direction, f"weights of {model.name}"), blocks)
    cases = [("fp8_e4m3 tensor", "fp8_e4m3-tensor", []), ("fp8_e4m3 128x128", "fp8_e4m3", ["--group-size", 128])]
    for name, codec, options in cases:

        def written():
            folder = adze.quantize(model.path, "coded", "--container", "fp8", "--codec", codec, *options)
            return compare_weights(adze.dequantized(folder), dequantized_fp8(folder))

        def renamed():
            folder = adze.quantize(model.path, "coded", "--container", "fp8", "--codec", codec, *options)
            peer = adze.fresh("peer")
            with_their_names(folder, peer)
            return compare_weights(adze.dequantized(peer), dequantized_fp8(peer))

        report.check(Subject("fp8", name, "adze -> Fp8Dequantize", f"weights of {model.name}"), written)
        if codec.endswith("tensor"):
            report.check(Subject("fp8", name, "transformers' names -> adze", f"weights of {model.name}"), renamed)


def write_mxfp4(model: Model, adze: Adze, folder: Path):
    """Weights in the blocks of gpt-oss, from those that Adze makes for compressed-tensors, which hold the same codes."""
    coded = adze.quantize(model.path, "coded", "--container", "compressed-tensors", "--codec", "mxfp4")
    shutil.copytree(model.path, folder)
    tensors = {}
    for name, tensor in load_file(coded / "model.safetensors").items():
        module, _, part = name.rpartition(".")
        if part == "weight_packed":
            tensors[f"{module}_blocks"] = tensor.unflatten(-1, (-1, 16)).contiguous()
        elif part == "weight_scale":
            tensors[f"{module}_scales"] = tensor
        else:
            tensors[name] = tensor
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = model.config | {"quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}}
    (folder / "config.json").write_text(json.dumps(config))


def read_mxfp4(folder: Path) -> Tensors:
    """The loader's own conversion, which lays experts with the inputs first."""
    tensors = load_file(folder / "model.safetensors")
    found = {n: t.to(torch.float32) for n, t in tensors.items() if not n.endswith(("_blocks", "_scales"))}
    for name, blocks in tensors.items():
        if name.endswith("_blocks"):
            base = name.removesuffix("_blocks")
            values = convert_moe_packed_tensors(
                blocks.unsqueeze(0), tensors[f"{base}_scales"].unsqueeze(0), dtype=torch.float32
            )
            found[f"{base}.weight"] = values[0].T.contiguous()
    return found


def dequantized_fp8(folder: Path) -> Tensors:
    operation = Fp8Dequantize(None)
    tensors = layouts.stored(folder)
    found = {}
    for name, tensor in tensors.items():
        module, _, part = name.rpartition(".")
        if part in ("weight_scale", "weight_scale_inv", "activation_scale"):
            continue
        scale = tensors.get(f"{module}.weight_scale_inv", tensors.get(f"{module}.weight_scale"))
        if scale is None:
            found[name] = tensor.to(torch.float32)
        else:
            parts = {"weight": tensor, "weight_scale_inv": scale.to(torch.float32)}
            found[name] = next(iter(operation.convert(parts).values()))
    return found


def with_their_names(folder: Path, target: Path):
    shutil.copytree(folder, target)
    tensors = load_file(folder / "model.safetensors")
    renamed = {name.replace(".weight_scale", ".weight_scale_inv"): tensor for name, tensor in tensors.items()}
    renamed |= {
        name.replace(".weight_scale", ".activation_scale"): torch.tensor(0.25)
        for name in tensors
        if name.endswith(".weight_scale")
    }
    save_file(renamed, target / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] |= {"weight_block_size": None, "activation_scheme": "static"}
    (target / "config.json").write_text(json.dumps(config))
