"""GPTQ and AWQ checkpoints in GPTQModel, on a CPU: its loader reads what Adze writes, Adze what its quantizer writes."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

# Before the package looks at it: it wants a loader thread of its own.
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import torch
from safetensors.torch import load_file

import identity
from comparing import compare_logits, compare_weights
from models import Model
from report import Report, Subject
from tool import Adze

# As in logits.py: both compute in float32, in another order.
FLOAT = 1e-4
# Its AWQ layers multiply in float16: some 2^-11 a product, gathered over the layers.
HALF = 0.05

WRITTEN = [
    ("gptq", f"int{bits} {symmetry} {'rows' if size < 0 else f'g{size}'}", f"int{bits}", size, symmetry)
    for bits in (2, 3, 4, 8)
    for symmetry, size in (("sym", 64), ("asym", 64), ("sym", -1))
]
WRITTEN += [("gptq-v2", "int4 asym g64", "int4", 64, "asym"), ("gptq-v2", "int8 sym g64", "int8", 64, "sym")]
WRITTEN += [("awq", "int4 asym g64", "int4", 64, "asym"), ("awq", "int4 sym g64", "int4", 64, "sym")]


def check(report: Report, adze: Adze, tiny: Model):
    for container, name, codec, size, symmetry in WRITTEN:
        options = ["--container", container, "--codec", codec, "--group-size", size, f"--{symmetry}"]
        check_written(report, adze, tiny, Subject(container, name, "adze -> gptqmodel", ""), options)
    # Whole columns need no act-order; the others do, and both versions of the format are read.
    check_read(report, adze, tiny, "int4 g64 act-order", bits=4, group_size=64, desc_act=True)
    check_read(report, adze, tiny, "int4 g64 asym act-order", bits=4, group_size=64, desc_act=True, sym=False)
    check_read(report, adze, tiny, "int8 g32", bits=8, group_size=32, desc_act=False)
    check_read(report, adze, tiny, "int4 g64 v2", bits=4, group_size=64, desc_act=False, format="gptq_v2")


def check_written(report: Report, adze: Adze, model: Model, subject: Subject, options: list):
    loaded = {}

    def weights():
        written = adze.quantize(model.path, "coded", *options)
        loaded["model"] = load(written)
        return compare_weights(quantized(adze, written, loaded["model"]), decoded(loaded["model"]))

    def logits():
        ids = model.sample_ids()
        theirs = run(loaded["model"], ids)
        limit, note = (HALF, "the peer multiplies in float16") if subject.container == "awq" else (FLOAT, "")
        return compare_logits(adze.logits(adze.work / "coded", ids), theirs, limit, note)

    named = lambda what: Subject(subject.container, subject.codec, subject.direction, f"{what} of {model.name}")  # noqa: E731
    if report.check(named("weights"), weights):
        report.check(named("logits"), logits)


def check_read(report: Report, adze: Adze, model: Model, name: str, **settings):
    folder = adze.fresh("peer")

    def named(what: str, direction: str = "gptqmodel -> adze") -> Subject:
        return Subject("gptq", name, direction, what)

    def weights():
        write(adze, model, folder, settings)
        if settings["desc_act"]:
            assert_disordered(folder)
        return compare_weights(quantized(adze, folder, loaded := load(folder)), decoded(loaded))

    def logits():
        ids = model.sample_ids()
        return compare_logits(adze.logits(folder, ids), run(load(folder), ids), FLOAT)

    def again():
        kept = adze.convert(folder, "again", "--container", "gptq")
        return identity.differing_plain(folder / "model.safetensors", kept / "model.safetensors")

    if report.check(named(f"weights of {model.name}"), weights):
        report.check(named(f"logits of {model.name}"), logits)
        report.check(named("tensors that differ", "gptqmodel -> adze -> gptq"), again)


def load(path: Path):
    with _silence():
        from gptqmodel import BACKEND, GPTQModel

        awq = '"awq"' in (path / "config.json").read_text()
        backend = BACKEND.AWQ_TORCH if awq else BACKEND.GPTQ_TORCH
        return GPTQModel.load(str(path), backend=backend, device="cpu", dtype=torch.float16).model


def decoded(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights by the formulas of the package's layers, in float32."""
    from gptqmodel.nn_modules.qlinear import AWQuantLinear, BaseQuantLinear
    from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm

    found = {}
    for name, module in model.named_modules():
        if isinstance(module, AWQuantLinear):
            values = dequantize_gemm(
                module.qweight, module.qzeros, module.scales.float(), module.bits, module.group_size
            )
        elif isinstance(module, BaseQuantLinear):
            module.scales = module.scales.float()
            values = module.dequantize_weight()
        else:
            continue
        found[f"{name}.weight"] = values.T.to(torch.float32)
    if not found:
        raise ValueError("no layer is quantized")
    return found


def quantized(adze: Adze, path: Path, model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Adze's weights of the modules that are quantized in the peer's model."""
    names = decoded(model).keys()
    return {name: weight for name, weight in adze.dequantized(path).items() if name in names}


def run(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad(), _silence():
        return model.float()(ids).logits.to(torch.float32)


def write(adze: Adze, model: Model, path: Path, settings: dict):
    """Quantizes in a process of its own: the package keeps threads and writes logs where it is started."""
    shutil.rmtree(path, ignore_errors=True)
    command = [sys.executable, str(Path(__file__).resolve()), str(model.path), str(path), json.dumps(settings)]
    done = subprocess.run(command, cwd=adze.work, capture_output=True, text=True, timeout=900)
    if done.returncode != 0:
        raise RuntimeError(f"gptqmodel, status {done.returncode}: {done.stderr[-300:]}")


def quantize(source: str, target: str, settings: dict):
    """The package's own GPTQ on random tokens."""
    from gptqmodel import GPTQModel, QuantizeConfig

    generator = torch.Generator().manual_seed(1)
    ids = [torch.randint(3, 4096, (128,), generator=generator).tolist() for _ in range(4)]
    loaded = GPTQModel.load(source, QuantizeConfig(act_group_aware=False, **settings), device="cpu")
    loaded.quantize([{"input_ids": row, "attention_mask": [1] * len(row)} for row in ids], batch_size=1)
    loaded.save(target)


def assert_disordered(path: Path):
    """The test would prove nothing if the groups followed one after another."""
    for name, tensor in load_file(path / "model.safetensors").items():
        if name.endswith(".g_idx") and bool((tensor.diff() < 0).any()):
            return
    raise ValueError("every group index is in order")


@contextlib.contextmanager
def _silence():
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


if __name__ == "__main__":
    quantize(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
