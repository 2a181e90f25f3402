"""MLX checkpoints in mlx-lm: its loader runs what Adze writes, Adze runs what its converter writes."""

import contextlib
import io
from pathlib import Path

import mlx.core
import numpy
import torch
from mlx_lm import convert
from mlx_lm.utils import load

import identity
from comparing import compare_logits
from models import Model
from report import Report, Subject
from tool import Adze

# As in logits.py: both compute in float32, in another order.
FLOAT = 1e-4
CODECS = [(f"affine{bits} g64", f"affine{bits}", ["--group-size", 64]) for bits in (2, 3, 4, 5, 6, 8)]
CODECS += [("mxfp4", "mxfp4", []), ("mxfp8", "mxfp8", [])]
CONVERTED = [("affine4 g32", {"q_bits": 4, "q_group_size": 32}), ("affine6 g64", {"q_bits": 6, "q_group_size": 64})]
CONVERTED += [("mxfp4", {"q_bits": 4, "q_group_size": 32, "q_mode": "mxfp4"})]


def check(report: Report, adze: Adze, model: Model):
    for name, codec, options in CODECS:

        def written():
            folder = adze.quantize(model.path, "coded", "--container", "mlx", "--codec", codec, *options)
            ids = model.sample_ids()
            return compare_logits(adze.logits(folder, ids), logits(folder, ids), FLOAT)

        report.check(Subject("mlx", name, "adze -> mlx-lm", f"logits of {model.name}"), written)
    for name, options in CONVERTED:
        folder = adze.fresh("peer")

        def read():
            with contextlib.redirect_stdout(io.StringIO()):
                convert(str(model.path), str(folder), quantize=True, **options)
            ids = model.sample_ids()
            return compare_logits(adze.logits(folder, ids), logits(folder, ids), FLOAT)

        def again():
            kept = adze.convert(folder, "again", "--container", "mlx")
            return identity.differing_plain(folder / "model.safetensors", kept / "model.safetensors")

        if report.check(Subject("mlx", name, "mlx-lm -> adze", f"logits of {model.name}"), read):
            report.check(Subject("mlx", name, "mlx-lm -> adze -> mlx", "tensors that differ"), again)


def logits(path: Path, ids: torch.Tensor) -> torch.Tensor:
    model, _ = load(str(path))
    model.set_dtype(mlx.core.float32)
    found = model(mlx.core.array(ids.numpy())).astype(mlx.core.float32)
    return torch.from_numpy(numpy.array(found))
