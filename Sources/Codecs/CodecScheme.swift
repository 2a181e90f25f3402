/// A codec under the name that people type for it in other tools.
public struct CodecScheme: Sendable {
  /// The name, such as `W4A16`.
  public let name: String
  /// One line for people.
  public let summary: String
  /// Canonical name of the codec.
  public let codecName: String
  /// How the inputs of the layers are quantized; nil: not at all.
  public var activations: ActivationScheme?

  /// Every scheme; adding one is adding a row, here or in `others`.
  public static let all = rows.flatMap { row in
    [row]
      + others.filter { $0.meaning == row.name }.map {
        CodecScheme(
          name: $0.name, summary: "another name of \(row.name)", codecName: row.codecName,
          activations: row.activations)
      }
  }

  /// Other names of some.
  private static let others = [(name: "INT8", meaning: "W8A8"), (name: "MXFP4A16", meaning: "MXFP4")]

  private static let rows = [
    CodecScheme(name: "W4A16", summary: "int4, group 128, symmetric", codecName: "int4-g128-sym"),
    CodecScheme(name: "W4A16_ASYM", summary: "int4, group 128, asymmetric", codecName: "int4-g128-asym"),
    CodecScheme(name: "W8A16", summary: "int8, one scale a row, symmetric", codecName: "int8-gall-sym"),
    CodecScheme(
      name: "W8A8", summary: "the same, inputs int8 with a scale a token", codecName: "int8-gall-sym",
      activations: .int8Token),
    CodecScheme(
      name: "W4A8", summary: "int4, group 128, symmetric, inputs int8 with a scale a token",
      codecName: "int4-g128-sym", activations: .int8Token),
    CodecScheme(
      name: "W4A4", summary: "int4, group 128, symmetric, inputs int4 with a scale a token; after a rotation",
      codecName: "int4-g128-sym", activations: .int4Token),
    CodecScheme(name: "W3A16", summary: "int3, group 128, symmetric", codecName: "int3-g128-sym"),
    CodecScheme(name: "W2A16", summary: "int2, group 64, asymmetric", codecName: "int2-g64-asym"),
    CodecScheme(name: "NVFP4A16", summary: "NVIDIA FP4 weights", codecName: "nvfp4"),
    CodecScheme(name: "MXFP4", summary: "microscaling FP4 weights", codecName: "mxfp4"),
    CodecScheme(
      name: "FP8", summary: "FP8 weights and inputs, one scale each; inputs are calibrated",
      codecName: "fp8_e4m3-tensor", activations: .fp8Tensor),
    CodecScheme(
      name: "FP8_DYNAMIC", summary: "FP8 weights, a scale a row; inputs FP8, a scale a token",
      codecName: "fp8_e4m3-channel", activations: .fp8Token),
    CodecScheme(
      name: "FP8_BLOCK", summary: "FP8 weights, scales of 128x128; inputs FP8, a scale for 128 of a token",
      codecName: "fp8_e4m3-b128", activations: .fp8Group),
    CodecScheme(name: "FP8A16", summary: "FP8 weights, one scale a row", codecName: "fp8_e4m3-channel"),
    CodecScheme(name: "FP8A16_TENSOR", summary: "FP8 weights, one scale", codecName: "fp8_e4m3-tensor"),
    CodecScheme(name: "FP8A16_BLOCK", summary: "FP8 weights, scales of 128x128", codecName: "fp8_e4m3-b128"),
    CodecScheme(name: "NF4", summary: "bitsandbytes' NF4, group 64", codecName: "nf4-g64"),
    CodecScheme(name: "FP4", summary: "bitsandbytes' FP4, group 64", codecName: "fp4-g64"),
  ]

  /// The codec.
  /// - Throws: ``CodecError``.
  public func codec() throws(CodecError) -> any Codec { try CodecRegistry.codec(canonicalName: codecName) }

  /// The codec of the scheme called `name`, whatever its case.
  /// - Throws: ``CodecError/unknownCodec(_:known:)``.
  public static func codec(named name: String) throws(CodecError) -> any Codec {
    guard let scheme = all.first(where: { $0.name == name.uppercased() }) else {
      throw .unknownCodec(name, known: all.map(\.name))
    }
    return try scheme.codec()
  }
}
