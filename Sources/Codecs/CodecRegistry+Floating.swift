import TensorCore

extension CodecRegistry {
  /// FP8, FP4 and the codecs of MLX and bitsandbytes.
  static let floatingEntries: [CodecEntry] =
    Float8Codec.Format.allCases.map { float8Entry($0) }
    + [
      CodecEntry(MXFP4Codec(), summary: "OCP microscaling FP4, 4.25 bits, powers of two as scales"),
      CodecEntry(MXFP8Codec(), summary: "OCP microscaling FP8, 8.25 bits, powers of two as scales"),
      CodecEntry(NVFP4Codec(), summary: "NVIDIA FP4, 4.5 bits, FP8 scales under one for the matrix"),
    ] + FourBitFloatCodec.Kind.allCases.map { fourBitFloatEntry($0) } + (2...8).map { affineEntry(bits: $0) }

  private static func float8Entry(_ format: Float8Codec.Format) -> CodecEntry {
    let name = "fp8_\(format.rawValue)"
    return CodecEntry(
      name: name,
      summary:
        "FP8 with a scale per row (--group-size -1, the default) or per 128x128 block (--group-size 128)"
    ) { parameters throws(CodecError) in
      if parameters.isSymmetric == false {
        throw .invalidParameters(codec: name, reason: "FP8 has no zero points")
      }
      let size = parameters.groupSize ?? -1
      return try Float8Codec(
        format, granularity: size == -1 ? .channel : .block(size), scaleType: parameters.scaleType ?? .f32)
    } parse: { parts throws(CodecError) in
      var granularity: Float8Codec.Granularity?
      var scaleType = ElementType.f32
      for part in parts {
        switch part {
        case "tensor": granularity = .tensor
        case "channel": granularity = .channel
        case "bf16": scaleType = .bf16
        case "f16": scaleType = .f16
        default:
          guard part.first == "b", let size = Int(part.dropFirst()) else {
            throw CodecEntry.unknownPart(part, codec: name)
          }
          granularity = .block(size)
        }
      }
      guard let granularity else {
        throw .invalidParameters(codec: name, reason: "tensor, channel or b128 must be said")
      }
      return try Float8Codec(format, granularity: granularity, scaleType: scaleType)
    }
  }

  private static func fourBitFloatEntry(_ kind: FourBitFloatCodec.Kind) -> CodecEntry {
    let name = kind.rawValue
    return CodecEntry(
      name: name,
      summary: "bitsandbytes' \(name), 16 levels with a scale per group (--group-size, default 64)"
    ) { parameters throws(CodecError) in
      if parameters.isSymmetric == false {
        throw .invalidParameters(codec: name, reason: "\(name) has no zero points")
      }
      let size = parameters.groupSize ?? 64
      return try FourBitFloatCodec(
        kind, groupSize: size == -1 ? nil : size, scaleType: parameters.scaleType ?? .f32)
    } parse: { parts throws(CodecError) in
      let (size, scaleType) = try groupAndScale(parts, codec: name, default: .f32)
      return try FourBitFloatCodec(kind, groupSize: size == -1 ? nil : size, scaleType: scaleType)
    }
  }

  private static func affineEntry(bits: Int) -> CodecEntry {
    let name = "affine\(bits)"
    return CodecEntry(
      name: name, summary: "MLX, \(bits)-bit codes with scale and bias per group (--group-size, default 64)"
    ) { parameters throws(CodecError) in
      if parameters.isSymmetric == true {
        throw .invalidParameters(codec: name, reason: "affine codecs always have a bias")
      }
      return try AffineCodec(
        bits: bits, groupSize: parameters.groupSize ?? 64, scaleType: parameters.scaleType ?? .f16)
    } parse: { parts throws(CodecError) in
      let (size, scaleType) = try groupAndScale(parts, codec: name, default: .f16)
      return try AffineCodec(bits: bits, groupSize: size, scaleType: scaleType)
    }
  }

  /// Reads `g64` or `gall` and perhaps a type.
  private static func groupAndScale(
    _ parts: [String], codec: String, default type: ElementType
  ) throws(CodecError) -> (size: Int, scaleType: ElementType) {
    var size: Int?
    var scaleType = type
    for part in parts {
      switch part {
      case "gall": size = -1
      case "bf16": scaleType = .bf16
      case "f16": scaleType = .f16
      case "f32": scaleType = .f32
      default:
        guard part.first == "g", let number = Int(part.dropFirst()) else {
          throw CodecEntry.unknownPart(part, codec: codec)
        }
        size = number
      }
    }
    guard let size else {
      throw .invalidParameters(codec: codec, reason: "the group size must be said")
    }
    return (size, scaleType)
  }
}
