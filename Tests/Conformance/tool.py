"""The program under test: runs adze and reads what it wrote."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


class ToolError(Exception):
    """adze ended with an error, or wrote something else than was asked for."""


class Adze:
    def __init__(self, program: Path, work: Path):
        self.program = program
        self.work = work
        told = self.run("quantize", "--help")
        self.codecs = self._listed(told, "Codecs")
        self.containers = self._listed(told, "Containers")

    @staticmethod
    def _listed(told: str, section: str) -> set[str]:
        lines = told.split(f"\n{section}:\n", 1)[-1].split("\n")
        names = set()
        for line in lines:
            if line and not line.startswith(" ") and line.endswith(":"):
                break
            if match := re.match(r"  ([\w-]+): ", line):
                names.add(match.group(1))
        return names

    def run(self, *arguments) -> str:
        """Standard output of a command; its last error message is thrown if it fails."""
        command = [str(self.program), *map(str, arguments)]
        environment = os.environ | {"SWIFT_BACKTRACE": "enable=no"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
        if done.returncode != 0:
            told = [line for line in done.stderr.splitlines() if line.strip()]
            message = next((line for line in told if line.lower().startswith("error")), "".join(told[-1:]))
            raise ToolError(f"adze {arguments[0]}, status {done.returncode}: {message}")
        return done.stdout

    def version(self) -> str:
        return self.run("--version").strip()

    def fresh(self, name: str) -> Path:
        """A path in the work folder with nothing at it."""
        path = self.work / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        return path

    def convert(self, model: Path, name: str, *options) -> Path:
        output = self.fresh(name)
        self.run("convert", model, "-o", output, *options)
        return output

    def quantize(self, model: Path, name: str, *options) -> Path:
        output = self.fresh(name)
        self.run("quantize", model, "-o", output, "--method", "rtn", *options)
        return output

    def dequantized(self, model: Path) -> dict[str, torch.Tensor]:
        """Every weight of a model as adze reads it, float32."""
        plain = self.convert(
            model, "dequantized", "--container", "safetensors", "--dequantize", "--dtype", "f32", "--no-proof"
        )
        weights: dict[str, torch.Tensor] = {}
        for shard in sorted(plain.glob("*.safetensors")):
            weights |= load_file(shard)
        shutil.rmtree(plain)
        return {name: weight.to(torch.float32) for name, weight in weights.items()}

    def logits(self, model: Path, ids: torch.Tensor, *options, activations: str = "float32") -> torch.Tensor:
        """Logits of rows of ids, [rows, tokens, vocabulary]; what the stored weights mean, unless inputs are rounded, too
        ("auto": as the model says)."""
        source, target = self.work / "ids.safetensors", self.fresh("logits.safetensors")
        save_file({"input_ids": ids.to(torch.int64)}, source)
        self.run("logits", model, "--input", source, "-o", target, "--activations", activations, *options)
        return load_file(target)["logits"]

    def tokens(self, model: Path, text: str, special: bool = True) -> list[int]:
        source = self.work / "text.txt"
        source.write_bytes(text.encode())
        options = [] if special else ["--no-special"]
        return json.loads(self.run("tokenize", model, "--file", source, "--json", *options))["ids"]
