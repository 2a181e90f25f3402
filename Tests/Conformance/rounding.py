"""What a peer's rounding of layer inputs does to logits: the yardstick for peers that do not compute in float32."""

from typing import Callable

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from models import Model

Tensors = dict[str, torch.Tensor]


def logits(model: Model, weights: Tensors, ids: torch.Tensor, types: dict[str, str] | None = None) -> torch.Tensor:
    """Logits of plain float32 weights in transformers. With the GGUF types of the matrices, each input of a linear
    layer is rounded first as llama.cpp does for a matrix of that type."""
    config = LlamaConfig.from_pretrained(model.path)
    loaded = LlamaForCausalLM(config).to(torch.float32).eval()
    kept = dict(weights)
    if config.tie_word_embeddings:
        kept["lm_head.weight"] = weights["model.embed_tokens.weight"]
    loaded.load_state_dict(kept)
    if types is not None:
        for name, module in loaded.named_modules():
            if isinstance(module, torch.nn.Linear):
                kind = types.get(f"{name}.weight") or types["model.embed_tokens.weight"]
                module.register_forward_pre_hook(_hook(_rounding(kind)))
    with torch.no_grad():
        return loaded(ids).logits


def _hook(rounding: Callable[[torch.Tensor], torch.Tensor]):
    return lambda module, inputs: (rounding(inputs[0]), *inputs[1:])


def _rounding(kind: str) -> Callable[[torch.Tensor], torch.Tensor]:
    if kind == "f32":
        return lambda values: values
    if kind in ("f16", "bf16"):
        narrow = torch.float16 if kind == "f16" else torch.bfloat16
        return lambda values: values.to(narrow).to(torch.float32)
    # Blocks of 256 weights meet blocks of 256 inputs, the others blocks of 32.
    of_256 = kind.endswith("_k") or (kind.startswith(("iq", "tq")) and kind != "iq4_nl")
    return lambda values: _eight_bits(values, 256 if of_256 else 32)


def _eight_bits(values: torch.Tensor, size: int) -> torch.Tensor:
    blocks = values.unflatten(-1, (-1, size))
    scale = blocks.abs().amax(-1, keepdim=True) / 127
    codes = (blocks / torch.where(scale == 0, 1.0, scale)).round()
    if size == 32:
        scale = scale.to(torch.float16).to(torch.float32)
    return (codes * scale).flatten(-2)
