#!/usr/bin/env python3
"""Writes the goldens of CodecsTests. Needs numpy, safetensors, gguf, ml_dtypes and mlx[cpu] from PyPI; see README.md."""
import pathlib

import gguf
import ml_dtypes
import mlx.core as mx
import numpy as np
from safetensors.numpy import save_file

goldens = {}
rng = np.random.default_rng(20)
mx.set_default_device(mx.cpu)


def write(name, array):
    goldens[name] = np.ascontiguousarray(array)


# GGML blocks of random bytes with a sane scale, and what gguf-py makes of them.
SCALE_AT = {"IQ4_NL": 0, "IQ4_XS": 0, "IQ1_S": 0, "IQ1_M": None, "IQ2_XXS": 0, "IQ2_XS": 0, "IQ2_S": 0, "IQ3_XXS": 0,
            "IQ3_S": 0, "TQ1_0": 52, "TQ2_0": 64}
for name, place in SCALE_AT.items():
    kind = gguf.GGMLQuantizationType[name]
    length, size = gguf.GGML_QUANT_SIZES[kind]
    count = 24 if length == 32 else 6
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for block in blocks:
        half = np.float16(rng.normal() * 0.02).view(np.uint16)
        if place is not None:
            block[place:place + 2] = [half & 255, half >> 8]
        else:
            for word in range(4):
                block[49 + 2 * word] = (block[49 + 2 * word] & 15) | (((int(half) >> (4 * word)) & 15) << 4)
    write(f"{name.lower()}.blocks", blocks)
    write(f"{name.lower()}.values", gguf.dequantize(blocks, kind).astype("<f4"))


# Q1_0 and Q2_0 are not in gguf-py: restated from the description in ggml's headers.
def halves(blocks):
    return blocks[:, :2].copy().view("<f2").astype("<f4")


blocks = rng.integers(0, 256, (6, 18), dtype=np.uint8)
blocks[:, :2] = (rng.normal(size=(6, 1)) * 0.02).astype("<f2").view(np.uint8)
write("q1_0.blocks", blocks)
bits = np.unpackbits(blocks[:, 2:], axis=1, bitorder="little")
write("q1_0.values", np.where(bits == 1, halves(blocks), -halves(blocks)))
write("q2_0.blocks", blocks)
codes = (blocks[:, 2:, None] >> np.array([0, 2, 4, 6], dtype=np.uint8)) & 3
write("q2_0.values", ((codes.reshape(6, 64).astype("<f4") - 1) * halves(blocks)).astype("<f4"))

# Weights, and what gguf-py's quantizers make of them.
weights = (rng.normal(size=(4, 512)) * 0.05).astype("<f4")
weights[1, :256] = 0
weights[2, 0:64] = np.array([1, -1, 0.5, -0.5] * 16) * 0.125
weights[3, 128:] *= np.exp(rng.normal(size=384) * 2)
write("weights", weights)
for name in ("TQ1_0", "TQ2_0", "MXFP4"):
    write(f"{name.lower()}.encoded", gguf.quantize(weights, gguf.GGMLQuantizationType[name]))

groups = weights.reshape(-1, 128)
scale = np.zeros(len(groups), "<f4")
for column in range(128):
    scale = (scale + np.abs(groups[:, column])).astype("<f4")
scale = (scale / np.float32(128)).astype("<f2")
packed = np.packbits(groups >= 0, axis=1, bitorder="little")
write("q1_0.encoded", np.concatenate([scale.reshape(-1, 1).view(np.uint8), packed], axis=1))
groups = weights.reshape(-1, 64)
largest = np.abs(groups).max(1, keepdims=True).astype("<f4")
scaled = groups * np.divide(np.float32(1), largest, where=largest > 0, out=np.zeros_like(largest))
codes = np.clip(np.sign(scaled) * np.floor(np.abs(scaled) + np.float32(0.5)) + 1, 0, 3).astype(np.uint8)
packed = (codes.reshape(-1, 16, 4) << np.array([0, 2, 4, 6], dtype=np.uint8)).sum(2).astype(np.uint8)
write("q2_0.encoded", np.concatenate([largest.astype("<f2").view(np.uint8), packed], axis=1))

# Small floats: numbers around every code and every tie, and random bit patterns, as ml_dtypes rounds them.
for name, kind, limit in (("e4m3", ml_dtypes.float8_e4m3fn, 448), ("e5m2", ml_dtypes.float8_e5m2, 57344),
                          ("e2m1", ml_dtypes.float4_e2m1fn, 6)):
    every = np.arange(16 if name == "e2m1" else 256, dtype=np.uint8).view(kind).astype(np.float32)
    every = np.unique(every[np.isfinite(every)])
    ties = (every[1:] + every[:-1]) / 2
    points = np.concatenate([every, ties, np.nextafter(ties, np.float32(1e9)), np.nextafter(ties, np.float32(-1e9))])
    points = np.concatenate([points, (rng.normal(size=400) * 10.0 ** rng.integers(-9, 5, 400)).astype("<f4")])
    points = points[np.abs(points) <= limit].astype("<f4")
    write(f"{name}.points", points)
    write(f"{name}.points.codes", points.astype(kind).view(np.uint8))

# MLX: affine of every number of bits and type, and the floating-point modes.
for dtype, kind in (("f32", mx.float32), ("f16", mx.float16), ("bf16", mx.bfloat16)):
    source = mx.array(weights).astype(kind)
    write(f"affine-{dtype}.source", np.array(source.astype(mx.float32)).astype("<f4"))
    for bits in (2, 3, 4, 5, 6, 8):
        codes, scales, biases = mx.quantize(source, 64, bits)
        values = [np.array(part.astype(mx.float32)).astype("<f4") for part in (scales, biases)]
        write(f"affine{bits}-{dtype}.codes", np.array(codes).view(np.uint8))
        write(f"affine{bits}-{dtype}.lines", np.stack(values))
for mode in ("mxfp4", "nvfp4", "mxfp8"):
    codes, scales = mx.quantize(mx.array(weights), mode=mode)
    write(f"mlx-{mode}.codes", np.array(codes).view(np.uint8))
    write(f"mlx-{mode}.scales", np.array(scales))
    write(f"mlx-{mode}.values", np.array(mx.dequantize(codes, scales, mode=mode, dtype=mx.float32)).astype("<f4"))

save_file(dict(sorted(goldens.items())), pathlib.Path(__file__).parent / "codecs.safetensors")
