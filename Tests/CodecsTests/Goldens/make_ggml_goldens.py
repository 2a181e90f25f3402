"""Makes ggml.safetensors: what the reference decoders and quantizers of the GGML blocks give. See GGML.md.

usage: make_ggml_goldens.py PATH-OF-ggml_reference   (needs numpy, gguf, safetensors)
"""
import subprocess
import sys
import tempfile

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import dequantize
from safetensors.numpy import save_file

reference = sys.argv[1]
generator = np.random.default_rng(20)
LEGACY = {"Q4_0": (18, [0]), "Q4_1": (20, [0, 2]), "Q5_0": (22, [0]), "Q5_1": (24, [0, 2]), "Q8_0": (34, [0])}
K = {"Q2_K": (84, [80, 82]), "Q3_K": (110, [108]), "Q4_K": (144, [0, 2]), "Q5_K": (176, [0, 2]), "Q6_K": (210, [208])}
tensors = {}


def quantized(name, values, columns, importance=None):
    command = [reference, name.lower() if name in LEGACY else name[0].lower() + name[1:], str(columns)]
    with tempfile.NamedTemporaryFile() as file:
        if importance is not None:
            file.write(importance.tobytes())
            file.flush()
            command.append(file.name)
        output = subprocess.run(command, input=values.tobytes(), capture_output=True, check=True).stdout
    return np.frombuffer(output, np.uint8)


def extremes():
    """Blocks of 32 whose scales or codes are delicate."""
    zero = np.zeros(32, np.float32)
    blocks = [zero, -zero]
    for start in (0, 1):
        mixed = zero.copy()
        mixed[start::2] = -0.0
        blocks.append(mixed)
    for constant in (1, -1, 0.3, -0.3, 1e-3, 5e-8):
        blocks.append(zero + np.float32(constant))
    for first, second in ((1, -1), (-1, 1)):
        tie = zero.copy()
        tie[3], tie[7] = first, second
        blocks.append(tie)
    ramp = np.arange(-16, 16).astype(np.float32)
    blocks += [ramp, -ramp, ramp + 0.5, ramp / 2, (ramp + 16) / 2, -(ramp + 16) / 2, (ramp + 0.5) * 8]
    halves = zero.copy()
    halves[5:12] = [127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5]
    last = zero.copy()
    last[:16], last[31] = np.arange(16) * 0.5 - 4, -8
    blocks += [halves, last]
    normal = generator.normal(size=32).astype(np.float32)
    for exponent in (-3, -5, -6, -7, -8, -10, -20, -30, -37, 4):
        blocks.append((normal * 10.0**exponent).astype(np.float32))
    blocks += [abs(normal), -abs(normal), abs(normal) + 100, -abs(normal) - 100]
    blocks += list(generator.standard_t(4, size=(32, 32)).astype(np.float32))
    return np.stack(blocks).astype(np.float32)


for name, (size, factors) in {**LEGACY, **K}.items():
    count = 24 if name in LEGACY else 8
    blocks = generator.integers(0, 256, (count, size), dtype=np.uint8)
    # Infinite, not a number, negative zero, smallest subnormal.
    for row, half in enumerate((0x7C00, 0xFC00, 0x7E01, 0x8000, 0x0001)):
        for offset in factors:
            blocks[row, offset:offset + 2] = (half & 255, half >> 8)
    key = name.lower()
    tensors[f"{key}.blocks"] = blocks
    with np.errstate(all="ignore"):
        tensors[f"{key}.values"] = dequantize(blocks, GGMLQuantizationType[name]).astype(np.float32)

legacy = extremes()
tensors["legacy.values"] = legacy
for name, (size, _) in LEGACY.items():
    tensors[f"{name.lower()}.quantized"] = quantized(name, legacy, 32).reshape(-1, size)

searched = (generator.standard_t(5, size=(6, 512)) * 0.02).astype(np.float32)
importance = np.exp(generator.normal(size=512)).astype(np.float32)
tensors["searched.values"], tensors["searched.importance"] = searched, importance
for name in K:
    key = name.lower()
    tensors[f"{key}.plain"] = quantized(name, searched, 512).reshape(6, -1)
    tensors[f"{key}.weighted"] = quantized(name, searched, 512, importance).reshape(6, -1)

save_file(tensors, "ggml.safetensors")
