import Architectures
import OrderedCollections
import SafeIO
import TensorCore

extension DoctorCheck {
  /// A quantized cache of keys and values without its scales, or with such as are of no use.
  static let cacheScales = DoctorCheck(
    name: "cache-scales", summary: "a checkpoint for a quantized KV cache has its scales"
  ) { subject, _ in
    let quantization = subject.quantization
    let scheme =
      quantization?["kv_cache_scheme"]
      ?? subject.file("hf_quant_config.json")?["quantization"]?["kv_cache_quant_algo"]
    guard let scheme, !scheme.isNull, scheme["dynamic"]?.boolValue != true else { return [] }
    let suffixes = [".k_scale", ".v_scale", ".kv_scale", ".k_proj.output_scale", ".v_proj.output_scale"]
    let scales = subject.tensors.keys.filter { name in suffixes.contains { name.hasSuffix($0) } }
    let layers = subject.model?.summary.sizes.layerCount ?? 0
    let covered = Set(scales.compactMap { LayerNumber.of($0) })
    guard !scales.isEmpty, covered.count >= layers else {
      return [
        Finding(
          .error, check: "cache-scales", subject: scales.first,
          scales.isEmpty
            ? "the configuration asks for a quantized KV cache, and the checkpoint has no scales for it"
            : "the configuration asks for a quantized KV cache, and only \(covered.count) of \(layers) layers have scales for it",
          meaning:
            "engines warn once and use 1.0: keys and values beyond the range of the type are clipped, and small ones are lost",
          remedy: "calibrate the cache again, or remove kv_cache_scheme from the configuration")
      ]
    }
    return try scales.sorted().compactMap { name in
      guard let tensor = subject.tensors[name] else { return nil }
      let values = try tensor.floats()
      guard values.isEmpty || !values.allSatisfy({ $0.isFinite && $0 > 0 }) else { return nil }
      let bad = values.first { !($0.isFinite && $0 > 0) }
      return Finding(
        .error, check: "cache-scales", subject: name,
        "the scale of the KV cache is \(bad.map { "\($0)" } ?? "empty"), and not a number above zero",
        meaning: "keys or values are divided by it when they are stored: attention then reads nothing of use",
        remedy: "calibrate the cache again: adze quantize --scheme KVFP8 --corpus FILE")
    }
  }
}

/// The number of the layer that a tensor's name names.
enum LayerNumber {
  static func of(_ name: String) -> Int? {
    name.split(separator: ".").lazy.compactMap { Int($0) }.first
  }
}
