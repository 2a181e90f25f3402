"""compressed-tensors checkpoints, written and read with the package's own compressors."""

import contextlib
import json
import shutil
from pathlib import Path

import torch
from compressed_tensors.compressors import BaseCompressor, ModelCompressor
from compressed_tensors.compressors.format import infer_module_format
from compressed_tensors.compressors.mx_utils import decompress_mx_scale
from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
from compressed_tensors.quantization import (
    QuantizationArgs,
    QuantizationConfig,
    QuantizationScheme,
    apply_quantization_config,
    preset_name_to_scheme,
)
from compressed_tensors.quantization.lifecycle import forward
from compressed_tensors.quantization.lifecycle.forward import dequantize
from compressed_tensors.quantization.utils import helpers
from compressed_tensors.quantization.utils.helpers import calculate_qparams, generate_gparam, is_module_quantized
from compressed_tensors.utils.match import match_name
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from models import Model

# Parts of modules that scale activations and not the weight.
ACTIVATION_PARTS = ("input_scale", "input_zero_point", "input_global_scale", "k_scale", "v_scale", "q_scale")


@contextlib.contextmanager
def symmetric_integers():
    """The package rounds to -128...127 with the scale absmax / 127.5; engines on GPUs, and Adze, to -127...127 with absmax / 127."""
    places = [module for module in (forward, helpers) if hasattr(module, "calculate_range")]
    known = helpers.calculate_range

    def symmetric(arguments, device):
        low, high = known(arguments, device)
        return (-high if arguments.type == "int" else low), high

    for place in places:
        place.calculate_range = symmetric
    try:
        yield
    finally:
        for place in places:
            place.calculate_range = known


def weights(path: Path) -> dict[str, torch.Tensor]:
    """Every weight of a compressed checkpoint in float32: the package's formulas, with scales widened first so
    that nothing is rounded to the scales' type."""
    description = json.loads((path / "config.json").read_text())["quantization_config"]
    config = QuantizationConfig.model_validate(description)
    tensors: dict[str, torch.Tensor] = {}
    for shard in sorted(path.glob("*.safetensors")):
        tensors |= load_file(shard)
    modules = {name.removesuffix(".weight_scale") for name in tensors if name.endswith(".weight_scale")}
    found = {}
    for module in modules:
        if any(match_name(module, pattern) for pattern in config.ignore or []):
            raise ValueError(f"{module} is quantized, but the configuration says that it is not")
        parts = {n.removeprefix(f"{module}."): t for n, t in tensors.items() if n.startswith(f"{module}.")}
        found[f"{module}.weight"] = _decompressed(parts, _scheme(module, config), config.format)
    rest = {n: t.to(torch.float32) for n, t in tensors.items() if n.rpartition(".")[0] not in modules}
    return found | {n: t for n, t in rest.items() if n.rpartition(".")[2] not in ACTIVATION_PARTS}


def write(model: Model, path: Path, scheme: QuantizationScheme, cache: QuantizationArgs | None = None):
    """Rounds a model's linear layers to nearest and saves it the way that the package's users do. Scales of inputs
    and of the cache are no measured ones, only numbers that are easy to tell apart."""
    loaded = AutoModelForCausalLM.from_pretrained(model.path, dtype=torch.bfloat16)
    config = QuantizationConfig(config_groups={"group_0": scheme}, ignore=["lm_head"], kv_cache_scheme=cache)
    apply_quantization_config(loaded, config)
    for index, (name, parameter) in enumerate(loaded.named_parameters()):
        if name.rpartition(".")[2] in ACTIVATION_PARTS and parameter.dtype.is_floating_point:
            parameter.data.fill_(0.01 + index / 64)
    for module in loaded.modules():
        if is_module_quantized(module) and hasattr(module, "weight"):
            _set_parameters(module, module.quantization_scheme.weights)
    compressor = ModelCompressor.from_pretrained_model(loaded)
    compressor.compress_model(loaded)
    shutil.rmtree(path, ignore_errors=True)
    loaded.save_pretrained(path)
    compressor.update_config(path)
    shutil.copy(model.path / "tokenizer.json", path / "tokenizer.json")


def preset(name: str) -> QuantizationScheme:
    return preset_name_to_scheme(name, ["Linear"])


def cache() -> QuantizationArgs:
    """An FP8 cache with a scale for the keys and one for the values of each layer."""
    return QuantizationArgs(num_bits=8, type="float", strategy="tensor", symmetric=True, dynamic=False)


def integers(bits: int, symmetric: bool, group: int | None) -> QuantizationScheme:
    """Integer weights in groups, or with a scale per row."""
    strategy = "channel" if group is None else "group"
    arguments = QuantizationArgs(num_bits=bits, symmetric=symmetric, strategy=strategy, group_size=group)
    return QuantizationScheme(targets=["Linear"], weights=arguments)


def _scheme(module: str, config: QuantizationConfig) -> QuantizationScheme:
    for scheme in config.config_groups.values():
        if any(target == "Linear" or match_name(module, target) for target in scheme.targets):
            return scheme
    raise ValueError(f"no group of the configuration is meant for {module}")


def _decompressed(parts: dict[str, torch.Tensor], scheme: QuantizationScheme, form: str) -> torch.Tensor:
    if "weight_packed" in parts and scheme.weights.type == "float":
        return _four_bit_floats(parts, scheme.weights)
    parts = parts | {"weight_scale": parts["weight_scale"].to(torch.float32)}
    name = scheme.format or (form if form != "mixed-precision" else infer_module_format(torch.nn.Linear, scheme))
    compressor = BaseCompressor.get_value_from_registry(str(getattr(name, "value", name)))
    return compressor.decompress(parts, scheme)["weight"]


def _four_bit_floats(parts: dict[str, torch.Tensor], arguments: QuantizationArgs) -> torch.Tensor:
    # The compressor itself would round to bfloat16; these are its parts, run in float32.
    packed, scale = parts["weight_packed"], parts["weight_scale"]
    values = unpack_fp4_from_uint8(packed, packed.shape[0], packed.shape[1] * 2, dtype=torch.float32)
    scale = decompress_mx_scale(scale) if scale.dtype == torch.uint8 else scale
    overall = parts.get("weight_global_scale")
    return dequantize(values, scale.to(torch.float32), args=arguments, global_scale=overall, dtype=torch.float32)


def _set_parameters(module: torch.nn.Module, arguments: QuantizationArgs):
    weight = module.weight.detach().to(torch.float32)
    overall = None
    if arguments.strategy == "tensor_group":
        overall = generate_gparam(weight.min(), weight.max())
        module.weight_global_scale.data = overall
    low, high = _extremes(weight, arguments)
    scale, zero = calculate_qparams(low, high, arguments, global_scale=overall)
    module.weight_scale.data = scale.to(module.weight_scale.dtype).reshape(module.weight_scale.shape)
    if hasattr(module, "weight_zero_point"):
        kept = module.weight_zero_point
        module.weight_zero_point.data = zero.to(kept.dtype).reshape(kept.shape)


def _extremes(weight: torch.Tensor, arguments: QuantizationArgs) -> tuple[torch.Tensor, torch.Tensor]:
    """Smallest and largest weight that a scale stands for, in the shape of the scales."""
    rows, columns = weight.shape
    if arguments.strategy == "tensor":
        return weight.min(), weight.max()
    if arguments.strategy == "channel":
        groups, axes = weight, (1,)
        return groups.amin(axes, keepdim=True), groups.amax(axes, keepdim=True)
    if arguments.strategy == "block":
        height, width = arguments.block_structure
        groups, axes = weight.reshape(rows // height, height, columns // width, width), (1, 3)
    else:
        groups, axes = weight.reshape(rows, columns // arguments.group_size, arguments.group_size), (2,)
    return groups.amin(axes), groups.amax(axes)
