"""GGUF as the peers see it: read and written with gguf-py, quantized by llama.cpp."""

import ctypes
import json
from pathlib import Path

import gguf
import llama_cpp
import numpy
import torch
from gguf.quants import dequantize
from safetensors.torch import load_file

from models import Model


@llama_cpp.llama_log_callback
def _silent(level, text, data):
    pass


llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))


def weights(path: Path, config: dict) -> dict[str, torch.Tensor]:
    """Every weight of a Llama GGUF in float32, under its Hugging Face name and with the rows of queries and
    keys in the order that Hugging Face keeps them in."""
    names = _names(config)
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    found = {}
    for name, tensor in tensors.items():
        base = name.removesuffix(".weight")
        if not name.endswith(".weight") or name == "rope_freqs.weight":
            continue
        values = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32))
        if f"{base}.scale" in tensors:
            values = values * float(tensors[f"{base}.scale"].data[0])
        found[names[name]] = _paired_to_halves(values, names[name], config)
    return found


def types(path: Path) -> set[str]:
    """The types that a file's matrices have, in lower case."""
    return {t.tensor_type.name.lower() for t in gguf.GGUFReader(path).tensors if len(t.shape) == 2}


def matrix_types(path: Path, config: dict) -> dict[str, str]:
    """The type of each matrix under its Hugging Face name, in lower case."""
    names = _names(config)
    matrices = [t for t in gguf.GGUFReader(path).tensors if len(t.shape) == 2 and t.name in names]
    return {names[t.name]: t.tensor_type.name.lower() for t in matrices}


def write(
    model: Model, path: Path, kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32, tensors_in_part: int = 0
):
    """Writes a checkpoint with a byte-level tokenizer with gguf-py; matrices in `kind`, by its quantizers. Several parts
    `path-00001-of-...` when the tensors of one are limited."""
    config = model.config
    writer = gguf.GGUFWriter(path, "llama", split_max_tensors=tensors_in_part)
    writer.add_name(model.name)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    _add_tokenizer(writer, json.loads((model.path / "tokenizer.json").read_text()), config)
    theirs = {name: stored for stored, name in _names(config).items()}
    for name, weight in load_file(model.path / "model.safetensors").items():
        values = _halves_to_paired(weight.to(torch.float32), name, config).contiguous().numpy()
        if values.ndim == 1:
            writer.add_tensor(theirs[name], values)
        else:
            writer.add_tensor(theirs[name], gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def quantize(source: Path, target: Path, file_type: int):
    """llama.cpp's quantizer, with an importance of one for every column because some types insist on having any."""
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.nthread = 1
    parameters.ftype = file_type
    entries, kept = _even_importance(source)
    parameters.imatrix = ctypes.cast(entries, type(parameters.imatrix))
    status = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(parameters))
    del kept
    if status != 0:
        raise RuntimeError(f"llama_model_quantize returned {status}")


def _even_importance(source: Path):
    matrices = [t for t in gguf.GGUFReader(source).tensors if len(t.shape) == 2]
    entries = (llama_cpp.llama_model_imatrix_data * (len(matrices) + 1))()
    kept = []
    for entry, tensor in zip(entries, matrices):
        columns = int(tensor.shape[0])
        values = (ctypes.c_float * columns)(*([1.0] * columns))
        kept.append(values)
        entry.name = tensor.name.encode()
        entry.data = ctypes.cast(values, ctypes.POINTER(ctypes.c_float))
        entry.size = columns
    return entries, kept


def _names(config: dict) -> dict[str, str]:
    """Stored name to Hugging Face name, by gguf-py's own table."""
    table = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    parts = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
    parts += ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "input_layernorm", "post_attention_layernorm"]
    names = ["model.embed_tokens", "model.norm", "lm_head"]
    names += [f"model.layers.{layer}.{part}" for layer in range(config["num_hidden_layers"]) for part in parts]
    return {f"{table.get_name(name)}.weight": f"{name}.weight" for name in names}


def _heads(name: str, config: dict) -> int | None:
    if name.endswith("q_proj.weight"):
        return config["num_attention_heads"]
    return config["num_key_value_heads"] if name.endswith("k_proj.weight") else None


def _paired_to_halves(values: torch.Tensor, name: str, config: dict) -> torch.Tensor:
    """GGUF puts the two rows that rotate together side by side; Hugging Face half a head apart."""
    if (heads := _heads(name, config)) is None:
        return values
    rows, columns = values.shape
    return values.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _halves_to_paired(values: torch.Tensor, name: str, config: dict) -> torch.Tensor:
    if (heads := _heads(name, config)) is None:
        return values
    rows, columns = values.shape
    return values.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: dict, config: dict):
    ids = tokenizer["model"]["vocab"] | {t["content"]: t["id"] for t in tokenizer["added_tokens"]}
    special = {t["id"] for t in tokenizer["added_tokens"] if t["special"]}
    tokens = [token for token, _ in sorted(ids.items(), key=lambda item: item[1])]
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL for i in range(len(tokens))]
    )
    writer.add_token_merges(merges)
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(True)
