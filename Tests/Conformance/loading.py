"""Folders and files that Adze writes open as they are: configuration, tokenizer, generation settings, chat template."""

import json
import shutil
from pathlib import Path

import llama_cpp
import transformers

from models import Model
from report import Finding, Report, Subject
from tokens import TEXTS
from tool import Adze

TEMPLATE = "{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}\n{% endfor %}"
CONTAINERS = [
    ("safetensors", []),
    ("compressed-tensors", ["--codec", "int4"]),
    ("gptq", ["--codec", "int4", "--group-size", 64]),
    ("awq", ["--codec", "int4", "--group-size", 64, "--asym"]),
    ("fp8", ["--codec", "fp8_e4m3", "--group-size", 128]),
    ("modelopt", ["--codec", "nvfp4"]),
    ("mlx", ["--codec", "affine4"]),
]


def check(report: Report, adze: Adze, tiny: Model):
    source = with_template(adze, tiny)
    for container, options in CONTAINERS:

        def measure():
            if options:
                written = adze.quantize(source, "written", "--container", container, *options)
            else:
                written = adze.convert(source, "written", "--container", container)
            return differences(source, written)

        report.check(Subject(container, "", "adze -> transformers", "settings that differ"), measure)

    def from_gguf():
        adze.convert(source, "written.gguf")
        written = adze.convert(adze.work / "written.gguf", "written", "--container", "safetensors")
        return differences(source, written, is_derived=True)

    report.check(Subject("gguf", "", "adze -> gguf -> adze -> transformers", "settings that differ"), from_gguf)
    report.check(Subject("gguf", "", "adze -> llama.cpp", "settings that differ"), lambda: in_llama(adze, source))


def with_template(adze: Adze, model: Model) -> Path:
    """The model with everything that a published one has beside its weights."""
    path = adze.fresh("complete")
    shutil.copytree(model.path, path)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": TEMPLATE}
    settings |= {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"}
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    (path / "generation_config.json").write_text(
        json.dumps({"bos_token_id": 0, "eos_token_id": [1, 2], "temperature": 0.7, "do_sample": True})
    )
    return path


def differences(source: Path, written: Path, is_derived: bool = False) -> Finding:
    """What transformers reads otherwise from what was written; `is_derived`: through a format with fewer settings."""
    told = []
    theirs, ours = (transformers.AutoConfig.from_pretrained(path).to_dict() for path in (source, written))
    left_out = {"quantization_config", "quantization", "adze_provenance", "dtype", "torch_dtype", "_name_or_path"}
    left_out |= {"transformers_version", "architectures", "initializer_range", "pad_token_id"} if is_derived else set()
    for key in (theirs.keys() | ours.keys()) - left_out:
        if theirs.get(key) != ours.get(key):
            told.append(f"config {key}: {theirs.get(key)} became {ours.get(key)}")
    first, second = (transformers.AutoTokenizer.from_pretrained(path) for path in (source, written))
    for text in TEXTS:
        if first(text).input_ids != second(text).input_ids:
            told.append(f"tokens of {text[:20]!r}")
    for key in ("bos_token", "eos_token", "chat_template"):
        if getattr(first, key) != getattr(second, key):
            told.append(f"{key}: {getattr(first, key)!r} became {getattr(second, key)!r}")
    if not is_derived:
        settings = [transformers.GenerationConfig.from_pretrained(path).to_diff_dict() for path in (source, written)]
        if settings[0] != settings[1]:
            told.append("generation settings")
    return Finding(len(told), note="; ".join(told[:3]) or f"{len(theirs)} keys, {len(TEXTS)} texts, chat template")


def in_llama(adze: Adze, source: Path) -> Finding:
    model = llama_cpp.Llama(str(adze.convert(source, "written.gguf")), n_ctx=64, verbose=False)
    found = model.metadata
    wanted = {"tokenizer.chat_template": TEMPLATE, "tokenizer.ggml.bos_token_id": "0"}
    wanted |= {"tokenizer.ggml.eos_token_id": "1"}
    told = [f"{key}: {found.get(key)!r}" for key, value in wanted.items() if found.get(key) != value]
    answer = model.create_completion("The", max_tokens=4, temperature=0)
    if not answer["choices"][0]["text"]:
        told.append("it generates nothing")
    model.close()
    return Finding(len(told), note="; ".join(told) or f"{len(found)} entries; it generates")
