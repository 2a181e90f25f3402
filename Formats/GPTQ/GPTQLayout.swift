import Codecs
import OrderedCollections
import SafeIO
import TensorCore

/// Quantized weights as GPTQ checkpoints store them in safetensors files.
///
/// Read: forms `gptq` (v1), `gptq_v2` and `gptq_p`, 2 to 8 bits, symmetric and asymmetric, with and without act-order.
/// Written: `gptq` and `gptq_v2` of 2, 3, 4 and 8 bits.
public enum GPTQLayout {
  private static let partNames: Set<String> = ["qweight", "qzeros", "scales", "g_idx"]

  /// Joins the tensors of each module to a weight.
  ///
  /// Codes are unpacked when they are first needed; shapes, types, group indices and zero points are looked at here.
  /// - Parameter configuration: `quantization_config` of `config.json`, or `quantize_config.json`.
  /// - Throws: ``GPTQError``.
  public static func reading(
    tensors: OrderedDictionary<String, Tensor>, configuration: JSONValue
  ) throws(GPTQError) -> LayoutReading {
    let configuration = try GPTQConfiguration(configuration)
    var modules: OrderedDictionary<String, GPTQModule> = [:]
    for name in tensors.keys {
      let (module, part) = ParameterName(name).split
      if part == "qweight" { modules[module] = try GPTQModule(module, tensors, configuration) }
    }
    var reading = LayoutReading()
    let versions = versions(of: modules, configuration, &reading.warnings)
    var irregular = 0
    for (name, tensor) in tensors {
      let (module, part) = ParameterName(name).split
      guard partNames.contains(part) else {
        reading.weights[name] = .dense(tensor)
        continue
      }
      guard let parts = modules[module], let version = versions[module] else {
        throw .tensor(name: name, problem: "there are no codes that it belongs to", expected: nil, found: nil)
      }
      guard part == "qweight" else { continue }
      let isSymmetric = parts.uniformVersion == version && configuration.symmetries.contains(true)
      if !isSymmetric && !configuration.symmetries.contains(false) { irregular += 1 }
      reading.weights[module + ".weight"] = .encoded(
        try parts.matrix(configuration, version: version, isSymmetric: isSymmetric))
    }
    if irregular > 0 {
      reading.warnings.append(
        "\(irregular) modules have zero points although the configuration says sym; they are read as asymmetric"
      )
    }
    return reading
  }

  /// How the zero points of each module are stored: as their words show where they are all in the middle, which
  /// symmetric modules have, and as the configuration says elsewhere.
  private static func versions(
    of modules: OrderedDictionary<String, GPTQModule>, _ configuration: GPTQConfiguration,
    _ warnings: inout [String]
  ) -> [String: GPTQVersion] {
    let seen = modules.values.compactMap(\.uniformVersion)
    // Asymmetric modules do not have one zero point throughout, so that words which say so of all are symmetric.
    let isTrusted =
      configuration.symmetries.contains(true) || (seen.count == modules.count && Set(seen).count == 1)
    let versions = modules.mapValues {
      isTrusted ? $0.uniformVersion ?? configuration.version : configuration.version
    }
    let contrary = versions.values.count { $0 != configuration.version }
    if contrary > 0 {
      let (label, truth) = configuration.version == .v1 ? ("gptq", "gptq_v2") : ("gptq_v2", "gptq")
      warnings.append(
        "\(contrary) of \(modules.count) modules store zero points as \(truth) although the configuration says "
          + "\(label); the words are trusted")
    }
    return Dictionary(uniqueKeysWithValues: versions.map { ($0.key, $0.value) })
  }
}
