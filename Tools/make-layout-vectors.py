#!/usr/bin/env python3
"""Writes the vectors of the layouts FP8, ModelOpt, MLX and MXFP4: make-layout-vectors.py Formats

Needs numpy, ml_dtypes, safetensors and mlx[cpu] from PyPI.
"""
import json, os, pathlib, sys
import ml_dtypes, numpy as np
from safetensors.numpy import save_file
import mlx.core as mx
mx.set_default_device(mx.cpu)
root = pathlib.Path(sys.argv[1])
rng = np.random.default_rng(3)
E4M3, E8M0, E2M1 = ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e8m0fnu, ml_dtypes.float4_e2m1fn

def weights(rows, columns):
    return (rng.normal(size=(rows, columns)) * 0.05).astype(np.float32)

def put(layout, name, tensors, expected, config, file="quantization_config"):
    folder = root / layout / "Vectors"
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {k: np.array(v, order="C") for k, v in tensors.items()}
    save_file(tensors, folder / f"{name}.safetensors", metadata={"format": "pt"})
    save_file({k: np.ascontiguousarray(v, dtype=np.float32) for k, v in expected.items()}, folder / f"{name}.expected.safetensors")
    (folder / f"{name}.{file}.json").write_text(json.dumps(config, indent=1) + "\n")
    for f in (f"{name}.safetensors", f"{name}.expected.safetensors"): os.chmod(folder / f, 0o644)

def fp8(w, scale):
    q = np.clip(w / scale, -448, 448).astype(E4M3)
    return q, q.astype(np.float32) * scale

def hostile(layout, name, tensors, config, file="quantization_config"):
    put(layout, "hostile-" + name, tensors, {}, config, file)
    (root / layout / "Vectors" / f"hostile-{name}.expected.safetensors").unlink()

norm = np.ones(40, ml_dtypes.bfloat16)
# FP8 per tensor, static activations
w = weights(24, 40); s = np.float32(np.abs(w).max() / 448); q, x = fp8(w, s)
put("FP8", "tensor", {"a.weight": q, "a.weight_scale": np.float32(s).reshape(()), "a.input_scale": np.float32(0.02).reshape(()),
    "n.weight": norm, "self_attn.k_scale": np.float32(0.5).reshape(1)}, {"a.weight": x},
    {"quant_method": "fp8", "activation_scheme": "static", "ignored_layers": ["lm_head"]})
# Mistral's names
put("FP8", "mistral", {"layers.0.attention.wq.weight": q, "layers.0.attention.wq.qscale_weight": s.astype(ml_dtypes.bfloat16).reshape(()),
    "layers.0.attention.wq.qscale_act": np.float32(0.02).astype(ml_dtypes.bfloat16).reshape(())},
    {"layers.0.attention.wq.weight": q.astype(np.float32) * s.astype(ml_dtypes.bfloat16).astype(np.float32)},
    {"quant_method": "fp8", "activation_scheme": "static"})
# DeepSeek's blocks with ragged edges
w = weights(129, 130); s = np.zeros((2, 2), np.float32); x = np.zeros_like(w); q = np.zeros(w.shape, E4M3)
for i in range(2):
    for j in range(2):
        part = np.s_[128*i:128*i+128, 128*j:128*j+128]
        s[i, j] = np.abs(w[part]).max() / 448
        q[part], x[part] = fp8(w[part], s[i, j])
put("FP8", "block", {"a.weight": q, "a.weight_scale_inv": s}, {"a.weight": x},
    {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]})
w = weights(40, 72); e = np.zeros((2, 3), np.float32); x2 = np.zeros_like(w); q2 = np.zeros(w.shape, E4M3)
for i in range(2):
    for j in range(3):
        part = np.s_[32*i:32*i+32, 32*j:32*j+32]
        e[i, j] = np.exp2(np.ceil(np.log2(np.abs(w[part]).max() / 448)))
        q2[part], x2[part] = fp8(w[part], e[i, j])
put("FP8", "block-ue8m0", {"a.weight": q2, "a.weight_scale_inv": e.astype(E8M0)}, {"a.weight": x2},
    {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [32, 32], "scale_fmt": "ue8m0"})
# FBGEMM: a scale per row
w = weights(24, 40); s = (np.abs(w).max(1, keepdims=True) / 448).astype(np.float32); q, x = fp8(w, s)
put("FP8", "channel", {"a.weight": q, "a.weight_scale": s, "a.input_scale_ub": np.float32(1200).reshape(1)}, {"a.weight": x},
    {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": ["lm_head"]})

# ModelOpt
s1 = s.reshape(-1)
put("ModelOpt", "fp8-channel", {"a.weight": q, "a.weight_scale": s1}, {"a.weight": x},
    {"producer": {"name": "modelopt", "version": "0.37.0"}, "quantization": {"quant_algo": "FP8_PER_CHANNEL_PER_TOKEN", "kv_cache_quant_algo": None, "exclude_modules": ["lm_head"]}}, "hf_quant_config")
w = weights(24, 40); s = np.float32(np.abs(w).max() / 448); q, x = fp8(w, s)
put("ModelOpt", "fp8", {"a.weight": q, "a.weight_scale": s.reshape(()), "a.input_scale": np.float32(0.02).reshape(()),
    "k_proj.k_scale": np.float32(0.7).reshape(()), "v_proj.v_scale": np.float32(0.8).reshape(())}, {"a.weight": x},
    {"producer": {"name": "modelopt", "version": "0.37.0"}, "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}}, "hf_quant_config")

def nvfp4(w):
    rows, columns = w.shape
    g = np.float32(np.abs(w).max() / (6 * 448))
    sc = (np.abs(w).reshape(rows, -1, 16).max(2) / 6 / g).astype(np.float32).astype(E4M3)
    full = sc.astype(np.float32)[..., None] * g
    q = np.clip(w.reshape(rows, -1, 16) / full, -6, 6).astype(E2M1)
    x = (q.astype(np.float32) * full).reshape(w.shape)
    n = q.view(np.uint8).reshape(rows, columns)
    return n[:, ::2] | (n[:, 1::2] << 4), sc, g, x
w = weights(8, 64); codes, sc, g, x = nvfp4(w)
put("ModelOpt", "nvfp4", {"a.weight": codes, "a.weight_scale": sc, "a.weight_scale_2": g.reshape(()), "a.input_scale": np.float32(0.01).reshape(())}, {"a.weight": x},
    {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"], "kv_cache_scheme": {"dynamic": False, "num_bits": 8, "type": "float"},
     "config_groups": {"group_0": {"weights": {"dynamic": False, "num_bits": 4, "type": "float", "group_size": 16}, "targets": ["Linear"]}}, "producer": {"name": "modelopt", "version": "0.37.0"}})
w = weights(6, 256); pre = (1 + rng.random(256)).astype(np.float32).astype(ml_dtypes.bfloat16)
s = (np.abs(w).reshape(6, 2, 128).max(2) / 7).astype(ml_dtypes.bfloat16); sf = s.astype(np.float32)
q = np.clip(np.rint(w.reshape(6, 2, 128) / sf[..., None]), -8, 7); x = (q * sf[..., None]).reshape(6, 256)
n = (q.reshape(6, 256).astype(np.int8).view(np.uint8) & 15)
packed = n[::2] | (n[1::2] << 4)
c = {"producer": {"name": "modelopt", "version": "0.37.0"}, "quantization": {"quant_algo": "W4A16_AWQ", "group_size": 128, "has_zero_point": False, "kv_cache_quant_algo": None, "exclude_modules": ["lm_head"]}}
put("ModelOpt", "int4-awq", {"a.weight": packed, "a.weight_scale": s, "a.pre_quant_scale": pre, "b.weight": packed, "b.weight_scale": s},
    {"a.weight": x * pre.astype(np.float32), "b.weight": x}, c, "hf_quant_config")

# gpt-oss: two stacked experts, and a matrix by itself
def mxfp4(w):
    g = w.reshape(*w.shape[:-1], -1, 32); amax = np.abs(g).max(-1)
    e = np.clip(np.floor(np.log2(amax)) - 2 + 127, 0, 254).astype(np.uint8)
    f = np.exp2(e.astype(np.float32) - 127)[..., None].astype(np.float32)
    q = np.clip(g / f, -6, 6).astype(E2M1); n = q.view(np.uint8)
    return n[..., ::2] | (n[..., 1::2] << 4), e, (q.astype(np.float32) * f).reshape(w.shape)
w = np.stack([weights(6, 64), weights(6, 64)]); blocks, scales, x = mxfp4(w)
b2, s2, x2 = mxfp4(weights(4, 32))
put("MXFP4", "gpt-oss", {"model.layers.0.mlp.experts.down_proj_blocks": blocks, "model.layers.0.mlp.experts.down_proj_scales": scales,
    "model.layers.0.mlp.experts.down_proj_bias": np.zeros((2, 6), ml_dtypes.bfloat16), "a_blocks": b2, "a_scales": s2},
    {"model.layers.0.mlp.experts.0.down_proj.weight": x[0], "model.layers.0.mlp.experts.1.down_proj.weight": x[1], "a.weight": x2},
    {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]})

# MLX, by MLX itself
tensors, expected, config = {}, {}, {"group_size": 64, "bits": 4, "mode": "affine"}
def mlx(path, mode, kind, **kw):
    source = mx.array(weights(5, 256)).astype(kind)
    parts = mx.quantize(source, mode=mode, **kw)
    for part, value in zip(("weight", "scales", "biases"), parts): tensors[f"{path}.{part}"] = value
    expected[f"{path}.weight"] = np.array(mx.dequantize(*[p.astype(mx.float32) if mode == "affine" and i else p for i, p in enumerate(parts)], mode=mode, dtype=mx.float32, **kw))
    return {"mode": mode, **kw}
mlx("a", "affine", mx.float16, bits=4, group_size=64)
for bits in (2, 3, 5, 6, 8): config[f"b{bits}"] = mlx(f"b{bits}", "affine", mx.bfloat16, bits=bits, group_size=32 if bits < 6 else 128)
for mode in ("mxfp4", "mxfp8", "nvfp4"): config[mode] = mlx(mode, mode, mx.float32)
config["lm_head"] = False
tensors["lm_head.weight"] = mx.ones((3, 8), dtype=mx.bfloat16)
stack = mx.array(np.stack([weights(4, 64), weights(4, 64)]))
parts = mx.quantize(stack, 64, 4)
for part, value in zip(("weight", "scales", "biases"), parts): tensors[f"mlp.switch_mlp.up_proj.{part}"] = value
d = np.array(mx.dequantize(*parts, 64, 4))
for e in range(2): expected[f"mlp.experts.{e}.up_proj.weight"] = d[e]
folder = root / "MLX" / "Vectors"; folder.mkdir(parents=True, exist_ok=True)
mx.save_safetensors(str(folder / "modes.safetensors"), tensors, {"format": "mlx"})
save_file({k: np.ascontiguousarray(v) for k, v in expected.items()}, folder / "modes.expected.safetensors"); os.chmod(folder / "modes.expected.safetensors", 0o644)
(folder / "modes.quantization.json").write_text(json.dumps(config, indent=1) + "\n")

# Hostile: each must be refused.
q, _ = fp8(weights(4, 6), np.float32(0.001)); one = np.float32(0.001).reshape(())
static = {"quant_method": "fp8", "activation_scheme": "static"}
hostile("FP8", "scale-alone", {"a.weight_scale": one, "a.weight": norm}, static)
hostile("FP8", "two-scales", {"a.weight": q, "a.weight_scale": one, "a.weight_scale_inv": one}, static)
hostile("FP8", "scales-of-another-shape", {"a.weight": q, "a.weight_scale": np.ones(5, np.float32)}, static)
hostile("FP8", "scale-not-finite", {"a.weight": q, "a.weight_scale": np.float32("nan").reshape(())}, static)
hostile("FP8", "integer-scale", {"a.weight": q, "a.weight_scale": np.int32(3).reshape(())}, static)
hostile("FP8", "stack", {"a.weight": np.stack([q, q]), "a.weight_scale": np.ones(2, np.float32)}, static)
hostile("FP8", "oblong-blocks", {"a.weight": q, "a.weight_scale_inv": one.reshape(1, 1)}, {**static, "weight_block_size": [1, 128]})
hostile("FP8", "negative-blocks", {"a.weight": q, "a.weight_scale_inv": one.reshape(1, 1)}, {**static, "weight_block_size": [-1, 128]})
hostile("FP8", "another-format", {"a.weight": q, "a.weight_scale": one}, {**static, "fmt": "e4m3fnuz"})
quant = lambda algorithm: {"quantization": {"quant_algo": algorithm}}
hf = "hf_quant_config"
hostile("ModelOpt", "unknown-algorithm", {"a.weight": q, "a.weight_scale": one}, quant("W2A2"), hf)
hostile("ModelOpt", "scale-alone", {"a.weight_scale": one}, quant("FP8"), hf)
hostile("ModelOpt", "fp8-scales-of-another-shape", {"a.weight": q, "a.weight_scale": np.ones(3, np.float32)}, quant("FP8"), hf)
hostile("ModelOpt", "nvfp4-without-global-scale", {"a.weight": codes, "a.weight_scale": sc}, quant("NVFP4"), hf)
hostile("ModelOpt", "nvfp4-two-global-scales", {"a.weight": codes, "a.weight_scale": sc, "a.weight_scale_2": np.ones(2, np.float32)}, quant("NVFP4"), hf)
hostile("ModelOpt", "nvfp4-scales-of-another-shape", {"a.weight": codes, "a.weight_scale": sc[:, :3], "a.weight_scale_2": g.reshape(1)}, quant("NVFP4"), hf)
hostile("ModelOpt", "int4-scales-of-another-shape", {"a.weight": packed, "a.weight_scale": s[:5]}, quant("W4A16_AWQ"), hf)
hostile("ModelOpt", "input-factors-of-another-shape", {"a.weight": packed, "a.weight_scale": s, "a.pre_quant_scale": pre[:7]}, quant("W4A16_AWQ"), hf)
hostile("ModelOpt", "scale-not-finite", {"a.weight": q, "a.weight_scale": np.float32("inf").reshape(())}, quant("FP8"), hf)
gpt = {"quant_method": "mxfp4"}
hostile("MXFP4", "blocks-alone", {"a_blocks": b2}, gpt)
hostile("MXFP4", "scales-alone", {"a_scales": s2}, gpt)
hostile("MXFP4", "blocks-of-17", {"a_blocks": np.zeros((2, 2, 17), np.uint8), "a_scales": np.zeros((2, 2), np.uint8)}, gpt)
hostile("MXFP4", "two-dimensions", {"a_blocks": np.zeros((2, 16), np.uint8), "a_scales": np.zeros(2, np.uint8)}, gpt)
hostile("MXFP4", "scales-of-another-shape", {"a_blocks": b2, "a_scales": s2[:2]}, gpt)
hostile("MXFP4", "nothing-in-it", {"a_blocks": np.zeros((0, 2, 16), np.uint8), "a_scales": np.zeros((0, 2), np.uint8)}, gpt)
u = np.zeros((2, 8), np.uint32); f = np.ones((2, 1), np.float16); affine = {"group_size": 64, "bits": 4}
hostile("MLX", "no-biases", {"a.weight": u, "a.scales": f}, affine, "quantization")
hostile("MLX", "scales-alone", {"a.scales": f}, affine, "quantization")
hostile("MLX", "scales-of-another-shape", {"a.weight": u, "a.scales": np.ones((2, 2), np.float16), "a.biases": np.ones((2, 2), np.float16)}, affine, "quantization")
hostile("MLX", "biases-of-another-type", {"a.weight": u, "a.scales": f, "a.biases": f.astype(np.float32)}, affine, "quantization")
hostile("MLX", "integer-scales", {"a.weight": u, "a.scales": f.astype(np.int32), "a.biases": f.astype(np.int32)}, affine, "quantization")
hostile("MLX", "seven-bits", {"a.weight": u, "a.scales": f, "a.biases": f}, {"group_size": 64, "bits": 7}, "quantization")
hostile("MLX", "no-group", {"a.weight": u, "a.scales": f, "a.biases": f}, {"group_size": 0, "bits": 4}, "quantization")
hostile("MLX", "unknown-mode", {"a.weight": u, "a.scales": f}, {"group_size": 32, "bits": 4, "mode": "mxfp5"}, "quantization")
hostile("MLX", "broken-words", {"a.weight": np.zeros((2, 7), np.uint32), "a.scales": f, "a.biases": f}, {"group_size": 64, "bits": 6}, "quantization")
hostile("MLX", "stack-without-names", {"a.weight": np.stack([u, u]), "a.scales": np.stack([f, f]), "a.biases": np.stack([f, f])}, affine, "quantization")
