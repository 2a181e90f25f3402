"""Checkpoints in the layout of MLX, by its own quantizer."""

import json
import shutil
from pathlib import Path

import mlx.core
import torch
from safetensors.torch import load_file

from models import Model


def write(model: Model, path: Path, bits: int, group: int):
    path.mkdir()
    arrays = {}
    for name, weight in load_file(model.path / "model.safetensors").items():
        values = mlx.core.array(weight.to(torch.float32).numpy()).astype(mlx.core.bfloat16)
        if weight.ndim == 1:
            arrays[name] = values
            continue
        base = name.removesuffix(".weight")
        parts = mlx.core.quantize(values, group_size=group, bits=bits)
        for part, array in zip(("weight", "scales", "biases"), parts):
            arrays[f"{base}.{part}"] = array
    mlx.core.save_safetensors(str(path / "model.safetensors"), arrays, metadata={"format": "mlx"})
    settings = {"group_size": group, "bits": bits, "mode": "affine"}
    config = model.config | {"quantization": settings, "quantization_config": settings}
    (path / "config.json").write_text(json.dumps(config))
    shutil.copy(model.path / "tokenizer.json", path / "tokenizer.json")
