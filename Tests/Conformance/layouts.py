"""Readers written from the formats' descriptions with torch, for layouts whose own loaders want a GPU."""

import json
from pathlib import Path
from typing import Callable

import torch
from safetensors.torch import load_file

Tensors = dict[str, torch.Tensor]

FP4_VALUES = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
# Nibble i of an AWQ word holds this column of its eight.
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def plain(path: Path) -> Tensors:
    return {name: tensor.to(torch.float32) for name, tensor in stored(path).items()}


def gptq(path: Path) -> Tensors:
    config = json.loads((path / "quantize_config.json").read_text())
    bits = config["bits"]
    # The first version of the format stores zero points less one.
    lessened = 0 if config.get("checkpoint_format") == "gptq_v2" else 1

    def weight(parts: Tensors) -> torch.Tensor:
        outputs = parts["scales"].shape[1]
        codes = _bit_stream(parts["qweight"].T, bits)
        zeros = (_bit_stream(parts["qzeros"], bits)[:, :outputs] + lessened) % 2**bits
        groups = parts["g_idx"].long()
        scales = parts["scales"].to(torch.float32)
        return (codes[:, : len(groups)] - zeros[groups].T).to(torch.float32) * scales[groups].T

    return _assembled(path, "qweight", weight)


def awq(path: Path) -> Tensors:
    config = json.loads((path / "config.json").read_text())["quantization_config"]

    def weight(parts: Tensors) -> torch.Tensor:
        codes, zeros = _awq_columns(parts["qweight"]), _awq_columns(parts["qzeros"])
        inputs = codes.shape[0]
        size = config["group_size"] if config["group_size"] > 0 else inputs
        groups = torch.arange(inputs) // size
        values = (codes - zeros[groups]).to(torch.float32) * parts["scales"].to(torch.float32)[groups]
        return values.T

    return _assembled(path, "qweight", weight)


def fp8(path: Path) -> Tensors:
    config = json.loads((path / "config.json").read_text())["quantization_config"]

    def weight(parts: Tensors) -> torch.Tensor:
        values = parts["weight"].to(torch.float32)
        if "weight_scale_inv" in parts:
            height, width = config["weight_block_size"]
            scales = parts["weight_scale_inv"].to(torch.float32)
            scales = scales.repeat_interleave(height, 0).repeat_interleave(width, 1)
            return values * scales[: values.shape[0], : values.shape[1]]
        scales = parts["weight_scale"].to(torch.float32)
        return values * (scales.reshape(-1, 1) if scales.numel() > 1 else scales.reshape(()))

    return _assembled(path, "weight_scale_inv", weight) if _holds(path, "weight_scale_inv") else _assembled(
        path, "weight_scale", weight
    )


def modelopt(path: Path) -> Tensors:
    if not (path / "hf_quant_config.json").exists():
        raise ValueError("there is no hf_quant_config.json")

    def weight(parts: Tensors) -> torch.Tensor:
        scales = parts["weight_scale"].to(torch.float32)
        if parts["weight"].dtype == torch.uint8:
            values = FP4_VALUES[_bytes_to_nibbles(parts["weight"]).long()]
            scales = scales.repeat_interleave(16, 1) * parts["weight_scale_2"].to(torch.float32)
            return values * scales
        values = parts["weight"].to(torch.float32)
        return values * (scales.reshape(-1, 1) if scales.numel() > 1 else scales.reshape(()))

    return _assembled(path, "weight_scale", weight)


def mlx(path: Path) -> Tensors:
    config = json.loads((path / "config.json").read_text())["quantization"]

    def weight(parts: Tensors, name: str) -> torch.Tensor:
        settings = config | (config[name] if isinstance(config.get(name), dict) else {})
        size = settings["group_size"]
        codes = _bit_stream(parts["weight"].view(torch.int32), settings["bits"]).to(torch.float32)
        scales, biases = (parts[n].to(torch.float32).repeat_interleave(size, 1) for n in ("scales", "biases"))
        return codes[:, : scales.shape[1]] * scales + biases

    return _assembled(path, "scales", weight, named=True)


def mlx_library(path: Path) -> Tensors:
    """As `mlx`, with MLX's own kernel."""
    import mlx.core
    import numpy

    config = json.loads((path / "config.json").read_text())["quantization"]

    def array(tensor: torch.Tensor) -> "mlx.core.array":
        if tensor.dtype == torch.uint32 or tensor.dtype == torch.int32:
            return mlx.core.array(tensor.view(torch.int32).numpy().view(numpy.uint32))
        return mlx.core.array(tensor.to(torch.float32).numpy())

    def weight(parts: Tensors, name: str) -> torch.Tensor:
        settings = config | (config[name] if isinstance(config.get(name), dict) else {})
        arrays = [array(parts[part]) for part in ("weight", "scales", "biases")]
        values = mlx.core.dequantize(*arrays, group_size=settings["group_size"], bits=settings["bits"])
        return torch.from_numpy(numpy.array(values))

    return _assembled(path, "scales", weight, named=True)


def stored(path: Path) -> Tensors:
    """Every tensor of a folder, as it is."""
    tensors: Tensors = {}
    for shard in sorted(path.glob("*.safetensors")):
        tensors |= load_file(shard)
    return tensors


def _holds(path: Path, part: str) -> bool:
    return any(name.endswith(f".{part}") for name in stored(path))


def _assembled(path: Path, mark: str, weight: Callable, named: bool = False) -> Tensors:
    """Modules that have a part named `mark` through `weight`, everything else as it is."""
    tensors = stored(path)
    modules = [name.removesuffix(f".{mark}") for name in tensors if name.endswith(f".{mark}")]
    if not modules:
        raise ValueError(f"no module has a {mark}")
    found = {}
    for module in modules:
        parts = {n.removeprefix(f"{module}."): t for n, t in tensors.items() if n.startswith(f"{module}.")}
        found[f"{module}.weight"] = weight(parts, module) if named else weight(parts)
    known = set(modules)
    return found | {n: t.to(torch.float32) for n, t in tensors.items() if n.rpartition(".")[0] not in known}


def _bit_stream(words: torch.Tensor, bits: int) -> torch.Tensor:
    """Each row of 32-bit words as a stream of codes, least significant bit first."""
    shifts = torch.arange(32)
    stream = (words.contiguous().long().unsqueeze(-1) >> shifts & 1).flatten(1)
    whole = stream.shape[1] // bits * bits
    powers = 2 ** torch.arange(bits)
    return (stream[:, :whole].unflatten(1, (-1, bits)) * powers).sum(-1)


def _awq_columns(words: torch.Tensor) -> torch.Tensor:
    nibbles = words.long().unsqueeze(-1) >> 4 * torch.arange(8) & 15
    columns = torch.empty_like(nibbles)
    columns[..., AWQ_ORDER] = nibbles
    return columns.flatten(1)


def _bytes_to_nibbles(values: torch.Tensor) -> torch.Tensor:
    return torch.stack([values & 15, values >> 4], -1).flatten(1)
