"""Families in GGUF: what llama.cpp computes from adze's files, and what adze computes from its converter's.

The models are the goldens, whose logits transformers gave, changed where llama.cpp does not compute what they want
(windows of some families, another scale of the scores, biases). Its converter comes with its source tree: name one in
LLAMA_CPP_SOURCE, otherwise that half is left out."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import llama_cpp
import numpy
import torch
from safetensors.torch import load_file, save_file

from comparing import compare_logits
from models import ROOT
from report import Finding, Report, Subject
from tool import Adze

# Both compute in float32, in another order.
FLOAT = 1e-4
# llama.cpp looks the activation up in a table of halves, and takes the approximation for the function itself.
GELU = 1e-2
GOLDENS = [ROOT / "Tests/ArchitecturesTests/Goldens", Path(os.environ.get("ADZE_SHARED", "")) / "goldens"]

# What llama.cpp does not compute as it is meant, by golden; None where a change makes another golden of it.
PLAIN = {
    "mistral-window": {"sliding_window": None},
    "qwen2-window": {"use_sliding_window": False, "layer_types": None},
    "starcoder2": {"sliding_window": None},
    "phi3-short": {"sliding_window": None, "original_max_position_embeddings": 16},
    "gemma2": {"query_pre_attn_scalar": 16},
    "gemma2-plain": {"query_pre_attn_scalar": 14},
    "gemma3": {"query_pre_attn_scalar": 16},
    "smollm3": {"no_rope_layers": None, "no_rope_layer_interval": 4},
    "smollm3-window": {
        "no_rope_layers": None,
        "no_rope_layer_interval": 4,
        "use_sliding_window": False,
        "layer_types": None,
    },
    "falcon-new": {"bias": False},
    "qwen3-bias": {"attention_bias": False},
    "cohere-norms": {"attention_bias": False, "use_qk_norm": False, "tie_word_embeddings": True},
    "cohere-one-key": {"use_qk_norm": False},
    "phi-norms": {"qk_layernorm": False},
    "qwen3-moe-mixed": {"norm_topk_prob": True},
    "deepseek2": {
        "rope_parameters": {
            "factor": 4.0,
            "mscale": 0.707,
            "mscale_all_dim": 0.707,
            "original_max_position_embeddings": 16,
            "rope_theta": 10000.0,
            "rope_type": "yarn",
        }
    },
    "deepseek3": {"scoring_func": "sigmoid"},
    "deepseek2-groups": {"attention_bias": False, "topk_method": "greedy", "n_group": 1, "topk_group": 1},
    "olmo3": {
        "rope_parameters": {
            "full_attention": {
                "factor": 4.0,
                "original_max_position_embeddings": 16,
                "rope_theta": 90000.0,
                "rope_type": "yarn",
            },
            "sliding_attention": {"rope_theta": 90000.0, "rope_type": "default"},
        }
    },
    "seed-oss": {"attention_out_bias": False, "mlp_bias": False},
    "gpt-oss": {"rope_parameters": {"rope_theta": 150000.0, "rope_type": "default"}},
    "ernie4-5-bias": {"use_bias": False},
}
# Tensors that a change takes away, by parts of their names.
DROPPED = {
    "falcon-new": ["query_key_value.bias", "dense.bias", "_4h.bias", "_to_h.bias"],
    "qwen3-bias": ["_proj.bias"],
    "deepseek2-groups": ["_proj.bias", "_mqa.bias"],
    "seed-oss": ["o_proj.bias", "gate_proj.bias", "up_proj.bias", "down_proj.bias"],
    "ernie4-5-bias": ["_proj.bias"],
    "cohere-norms": ["_proj.bias", "_norm.weight", "lm_head"],
    "cohere-one-key": ["_norm.weight"],
    "phi-norms": ["_layernorm.weight", "_layernorm.bias"],
}
# Kept although a part says otherwise.
KEPT = ["input_layernorm", "final_layernorm", "post_attention_layernorm"]
# GGUF has no such thing, or no such family.
IMPOSSIBLE = {"falcon-rw", "gpt2-inner", "gpt2-by-layer", "llama-dynamic", "gptj", "opt", "opt-after", "opt-narrow"}
# Halves where files have neighbours; gates with another limit than 7.
IMPOSSIBLE |= {"deepseek3-plain", "gpt-oss-plain"}
# Layers without experts between others are not loaded; the loader wants as many norms of heads as it has layers, and in OLMoE as
# many key heads as query heads.
UNLOADABLE = {"qwen3-moe-mixed", "olmoe-clip"}
# What llama.cpp's converter loses or refuses: the base of GPT-NeoX's rotary positions, Phi's key heads and width of
# feed-forwards, no caps in Gemma 2, StableLM's norms of heads.
LOST = {"gpt-neox-sequential", "phi", "phi-norms", "gemma2-plain", "stablelm-parallel"}


def check(report: Report, adze: Adze, only: list[str] | None = None):
    source = os.environ.get("LLAMA_CPP_SOURCE")
    for golden in goldens():
        if golden.name in IMPOSSIBLE or (only and golden.name not in only):
            continue
        model = adapted(adze, golden)
        limit = limit_for(model)
        if golden.name not in UNLOADABLE:
            subject = Subject("gguf", "f32", "adze -> llama.cpp", f"logits, {golden.name}")
            report.check(subject, lambda: ours_in_llama(adze, model, limit))
        if source and golden.name not in UNLOADABLE | LOST:
            subject = Subject("gguf", "f32", "converter -> adze", f"logits, {golden.name}")
            report.check(subject, lambda: theirs_in_adze(adze, model, Path(source)))


def goldens() -> list[Path]:
    found = [path for folder in GOLDENS if folder.is_dir() for path in sorted(folder.iterdir())]
    return [path for path in found if (path / "expected.safetensors").is_file()]


def adapted(adze: Adze, golden: Path) -> Path:
    """A copy of a golden that wants nothing that llama.cpp does not compute."""
    path = adze.fresh("golden") / golden.name
    path.mkdir(parents=True)
    config = json.loads((golden / "config.json").read_text())
    changes = PLAIN.get(golden.name, {})
    config.update(changes)
    config = {key: value for key, value in config.items() if value is not None or key not in changes or key == "sliding_window"}
    if "original_max_position_embeddings" in changes and isinstance(config.get("rope_parameters"), dict):
        config["rope_parameters"]["original_max_position_embeddings"] = changes["original_max_position_embeddings"]
    weights = load_file(golden / "model.safetensors")
    dropped = DROPPED.get(golden.name, [])
    kept = {
        name: weight
        for name, weight in weights.items()
        if any(part in name for part in KEPT) or not any(part in name for part in dropped)
    }
    if config.get("kv_lora_rank"):
        narrow_heads(config, kept)
    save_file(kept, path / "model.safetensors", metadata={"format": "pt"})
    (path / "config.json").write_text(json.dumps(config))
    return path


def narrow_heads(config: dict, weights: dict[str, torch.Tensor]):
    """Takes a column away from heads that have an odd number of unrotated ones, with which llama.cpp ends."""
    plain, rotated, value = (config[key] for key in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
    if plain % 2 == 0:
        return
    config.update(qk_nope_head_dim=plain - 1, qk_head_dim=plain - 1 + rotated)
    for name, weight in weights.items():
        rest = {"q_proj": rotated, "q_b_proj": rotated, "kv_b_proj": value}.get(name.split(".")[-2])
        if rest is not None:
            heads = weight.view(config["num_attention_heads"], plain + rest, -1)
            weights[name] = torch.cat([heads[:, 1:plain], heads[:, plain:]], 1).flatten(0, 1).contiguous()


def limit_for(model: Path) -> float:
    config = json.loads((model / "config.json").read_text())
    names = [str(config.get(key)) for key in ("hidden_act", "hidden_activation", "activation", "activation_function")]
    uses_gelu = any("gelu" in name for name in names) or config["model_type"] == "bloom"
    return GELU if uses_gelu else FLOAT


def sample_ids(model: Path) -> torch.Tensor:
    generator = torch.Generator().manual_seed(11)
    count = json.loads((model / "config.json").read_text())["vocab_size"]
    return torch.randint(3, count, (1, 48), generator=generator)


def ours_in_llama(adze: Adze, model: Path, limit: float) -> Finding:
    written = adze.convert(model, "family.gguf", "--dtype", "f32")
    ids = sample_ids(model)
    return compare_logits(adze.logits(model, ids), llama_logits(written, ids), limit)


def theirs_in_adze(adze: Adze, model: Path, source: Path) -> Finding:
    written = adze.fresh("converted.gguf")
    converted(model, written, source)
    ids = sample_ids(model)
    return compare_logits(adze.logits(model, ids), adze.logits(written, ids), FLOAT)


def converted(model: Path, target: Path, source: Path):
    """Runs the converter on a model without a vocabulary."""
    config = json.loads((model / "config.json").read_text())
    # It reads keys that transformers fills in.
    config.setdefault("n_ctx", config.get("n_positions"))
    if config["model_type"] == "phi3":
        config.setdefault("original_max_position_embeddings", config["max_position_embeddings"])
    if config["model_type"] == "falcon" and not config.get("new_decoder_architecture"):
        config["num_kv_heads"] = 1
    (model / "config.json").write_text(json.dumps(config))
    # One reads the number of tokens from here.
    tokens = {"model": {"vocab": {str(token): token for token in range(config["vocab_size"])}}, "added_tokens": []}
    tokenizer = model / "tokenizer.json"
    tokenizer.write_text(json.dumps(tokens))
    done = subprocess.run(
        [sys.executable, __file__, str(source), str(model), "--outfile", str(target), "--outtype", "f32"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    tokenizer.unlink()
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])


def llama_logits(path: Path, ids: torch.Tensor) -> torch.Tensor:
    """Through the C interface, which does without a vocabulary."""
    quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    options = llama_cpp.llama_model_default_params()
    options.n_gpu_layers = 0
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), options)
    if not model:
        raise RuntimeError("llama.cpp does not load the file")
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = ids.shape[1]
    settings.n_threads = settings.n_threads_batch = 1
    settings.type_k = settings.type_v = llama_cpp.GGML_TYPE_F32
    settings.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
    context = llama_cpp.llama_init_from_model(model, settings)
    width = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    count = ids.shape[1]
    batch = llama_cpp.llama_batch_init(count, 0, 1)
    try:
        for place, token in enumerate(ids[0].tolist()):
            batch.token[place], batch.pos[place], batch.logits[place] = token, place, 1
            batch.n_seq_id[place], batch.seq_id[place][0] = 1, 0
        batch.n_tokens = count
        if status := llama_cpp.llama_decode(context, batch):
            raise RuntimeError(f"llama_decode ends with {status}")
        rows = [numpy.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, i), (width,)).copy() for i in range(count)]
        return torch.from_numpy(numpy.stack(rows))[None]
    finally:
        llama_cpp.llama_batch_free(batch)
        llama_cpp.llama_free(context)
        llama_cpp.llama_model_free(model)


def run_converter():
    """In a process of its own: the converter with no vocabulary, whatever the model's class wants."""
    source, model = Path(sys.argv[1]), Path(sys.argv[2])
    sys.path[:0] = [str(source / "gguf-py"), str(source)]
    import convert_hf_to_gguf
    from conversion import get_model_class
    from conversion.base import ModelBase, TextModel

    config = json.loads((model / "config.json").read_text())
    get_model_class(config["architectures"][0]).set_vocab = TextModel._set_vocab_none
    # transformers renames keys that the converter wants.
    read = ModelBase.load_hparams
    ModelBase.load_hparams = staticmethod(lambda *arguments, **named: read(*arguments, **named) | config)
    sys.argv[1:] = sys.argv[2:]
    convert_hf_to_gguf.main()


if __name__ == "__main__":
    run_converter()
