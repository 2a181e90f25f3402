import OrderedCollections
import SafeIO
import TensorCore

extension DoctorCheck {
  /// GPTQ checkpoints whose label of the zero points' version is not that of the zero points.
  static let zeroPoints = DoctorCheck(
    name: "zero-points", summary: "GPTQ zero points are of the version that the configuration names"
  ) { subject, _ in
    guard let configuration = subject.quantization,
      configuration["quant_method"]?.stringValue ?? "gptq" == "gptq",
      let bits = configuration["bits"]?.intValue, [2, 4, 8].contains(bits)
    else { return [] }
    let label =
      (configuration["checkpoint_format"] ?? configuration["format"])?.stringValue ?? "gptq (by default)"
    let isSymmetric = configuration["sym"]?.boolValue ?? true
    var counts = (first: 0, second: 0, other: 0)
    var example: String?
    for (name, tensor) in subject.tensors where name.hasSuffix(".qzeros") && tensor.elementType == .i32 {
      switch try ZeroPointPattern(tensor) {
      case .first: counts.first += 1
      case .second: counts.second += 1
      case .other: counts.other += 1
      }
      example = example ?? name
    }
    guard let example else { return [] }
    let isSecond = label == "gptq_v2"
    let mislabelled = isSecond ? counts.first : counts.second
    if isSymmetric, mislabelled > 0 {
      let (found, said) =
        isSecond ? ("version 1 (one too small)", "version 2") : ("version 2", "version 1 (one too small)")
      return [
        Finding(
          .error, check: "zero-points", subject: example,
          "\(mislabelled) modules hold zero points of \(found), and the configuration says \(label), which is \(said)",
          meaning:
            "engines that trust the label shift every weight by one step, and the model produces noise",
          remedy: isSecond
            ? "set \"checkpoint_format\": \"gptq\" in config.json and quantize_config.json, or convert it with adze convert --container gptq"
            : "set \"checkpoint_format\": \"gptq_v2\" in config.json and quantize_config.json, or convert it with adze convert --container gptq"
        )
      ]
    }
    guard isSymmetric, counts.other > 0 else { return [] }
    return [
      Finding(
        .warning, check: "zero-points", subject: example,
        "the configuration says symmetric, yet \(counts.other) modules have zero points other than the middle",
        meaning: "kernels for symmetric weights ignore zero points and would compute something else",
        remedy: "set \"sym\": false in config.json and quantize_config.json")
    ]
  }
}

/// What all words of packed zero points are.
private enum ZeroPointPattern {
  /// The middle less one: 0x77777777 or 0x7F7F7F7F.
  case first
  /// The middle: 0x88888888 or 0x80808080.
  case second
  /// Anything else.
  case other

  init(_ tensor: Tensor) throws(TensorCoreError) {
    let words = Set(try tensor.integers())
    let first: [UInt32] = [0x7777_7777, 0x7F7F_7F7F, 0x5555_5555]
    let second: [UInt32] = [0x8888_8888, 0x8080_8080, 0xAAAA_AAAA]
    func all(_ patterns: [UInt32]) -> Bool {
      words.count == 1 && patterns.contains { words == [Int64(Int32(bitPattern: $0))] }
    }
    self = all(first) ? .first : all(second) ? .second : .other
  }
}
