import Codecs
import GGUF
import OrderedCollections
import TensorCore

/// Quantized matrices between their bytes in a GGUF file and the planes of Adze's codecs.
///
/// Block codecs have the file's bytes as they are. MXFP4 and NVFP4 keep scales and codes apart in Adze, with neighbouring
/// columns in a byte; a block of the file holds its scales, then codes whose halves of a byte are half a block apart.
enum GGUFBlocks {
  /// A block format whose planes differ from the file's bytes.
  private struct FourBit {
    let scaleBytes: Int
    /// Columns of a scale.
    let group: Int
    let hasGlobalScale: Bool
    var blockBytes: Int { scaleBytes * (1 + group / 2) }
    var blockColumns: Int { scaleBytes * group }

    static let mxfp4 = FourBit(scaleBytes: 1, group: 32, hasGlobalScale: false)
    static let nvfp4 = FourBit(scaleBytes: 4, group: 16, hasGlobalScale: true)

    init(scaleBytes: Int, group: Int, hasGlobalScale: Bool) {
      self.scaleBytes = scaleBytes
      self.group = group
      self.hasGlobalScale = hasGlobalScale
    }

    init?(typeName: String) {
      switch typeName {
      case "MXFP4": self = .mxfp4
      case "NVFP4": self = .nvfp4
      default: return nil
      }
    }
  }

  /// A matrix of a file.
  /// - Throws: ``PipelineError/weight(_:reason:)`` when no codec decodes the type, `CodecError`.
  static func matrix(
    type: GGUFTensorType, rows: Int, columns: Int, bytes: Tensor, scale: Float, name: String
  ) throws -> EncodedMatrix {
    guard let codec = try? CodecRegistry.codec(canonicalName: type.name.lowercased()) else {
      throw PipelineError.weight(name, reason: "no codec decodes \(type.name)")
    }
    guard let format = FourBit(typeName: type.name) else {
      let plane = try bytes.reshaped(to: Shape([rows, rows == 0 ? 0 : bytes.byteCount / rows]))
      return try EncodedMatrix(codec: codec, rows: rows, columns: columns, planes: ["blocks": plane])
    }
    let groups = columns / format.group
    let codes = unsafe MemoryRegion.deferred(byteCount: rows * columns / 2) { target in
      unsafe bytes.withBytes { unsafe split($0, format, codes: target, scales: nil) }
    }
    let scales = unsafe MemoryRegion.deferred(byteCount: rows * groups) { target in
      unsafe bytes.withBytes { unsafe split($0, format, codes: nil, scales: target) }
    }
    var planes: OrderedDictionary<String, Tensor> = [
      "codes": try Tensor(elementType: .u8, shape: Shape([rows, columns / 2]), region: codes),
      "scales": try Tensor(elementType: .u8, shape: Shape([rows, groups]), region: scales),
    ]
    if format.hasGlobalScale { planes["global_scale"] = try Tensor([scale], shape: [1]) }
    return try EncodedMatrix(codec: codec, rows: rows, columns: columns, planes: planes)
  }

  private static func split(
    _ source: UnsafeRawBufferPointer, _ format: FourBit, codes: UnsafeMutableRawBufferPointer?,
    scales: UnsafeMutableRawBufferPointer?
  ) {
    let half = format.group / 2
    for block in 0..<source.count / format.blockBytes {
      let start = block * format.blockBytes
      for part in 0..<format.scaleBytes {
        let group = block * format.scaleBytes + part
        if let scales = unsafe scales { unsafe scales[group] = source[start + part] }
        guard let codes = unsafe codes else { continue }
        let first = start + format.scaleBytes + part * half
        for pair in 0..<half {
          let (low, high) = (pair * 2, pair * 2 + 1)
          let even = unsafe nibble(source, first, low, half)
          let odd = unsafe nibble(source, first, high, half)
          unsafe codes[group * half + pair] = even | odd << 4
        }
      }
    }
  }

  /// The code of a column of a group in a file.
  private static func nibble(
    _ bytes: UnsafeRawBufferPointer, _ first: Int, _ column: Int, _ half: Int
  ) -> UInt8 {
    column < half ? unsafe bytes[first + column] & 15 : unsafe bytes[first + column - half] >> 4
  }

  // MARK: Writing

  /// The type that holds a codec's matrices; nil when none does.
  static func type(of codec: any Codec) -> GGUFTensorType? {
    let name = codec.canonicalName.uppercased()
    guard codec is any BlockCodec || FourBit(typeName: name) != nil else { return nil }
    return GGUFTensorType.all.first { $0.name == name && $0.elementType == nil }
  }

  /// The bytes of a range of rows of a matrix in a file.
  static func bytes(of matrix: EncodedMatrix, rows: Range<Int>) throws -> Tensor {
    if let plane = matrix.planes["blocks"] {
      let width = plane.shape.columns
      return try Tensor(
        elementType: .u8, shape: Shape([rows.count, width]), region: plane.region,
        byteOffset: plane.byteOffset + rows.lowerBound * width)
    }
    guard let format = FourBit(typeName: matrix.codec.canonicalName.uppercased()),
      let codes = matrix.planes["codes"], let scales = matrix.planes["scales"]
    else {
      throw CodecError.invalidParameters(codec: matrix.codec.canonicalName, reason: "no such type in GGUF")
    }
    let groups = matrix.columns / format.group
    let count = rows.count * groups / format.scaleBytes * format.blockBytes
    let region = unsafe MemoryRegion(byteCount: count) { target in
      unsafe codes.withBytes { codes in
        unsafe scales.withBytes { scales in
          unsafe join(
            UnsafeRawBufferPointer(rebasing: codes[(rows.lowerBound * groups * format.group / 2)...]),
            UnsafeRawBufferPointer(rebasing: scales[(rows.lowerBound * groups)...]), format, into: target)
        }
      }
    }
    return try Tensor(elementType: .u8, shape: Shape([count]), region: region)
  }

  private static func join(
    _ codes: UnsafeRawBufferPointer, _ scales: UnsafeRawBufferPointer, _ format: FourBit,
    into target: UnsafeMutableRawBufferPointer
  ) {
    let half = format.group / 2
    for block in 0..<target.count / format.blockBytes {
      let start = block * format.blockBytes
      for part in 0..<format.scaleBytes {
        let group = block * format.scaleBytes + part
        unsafe target[start + part] = scales[group]
        let first = start + format.scaleBytes + part * half
        for place in 0..<half {
          let low = unsafe code(codes, group * format.group + place)
          let high = unsafe code(codes, group * format.group + place + half)
          unsafe target[first + place] = low | high << 4
        }
      }
    }
  }

  /// The code of a column where two neighbours share a byte.
  private static func code(_ codes: UnsafeRawBufferPointer, _ column: Int) -> UInt8 {
    unsafe column % 2 == 0 ? codes[column / 2] & 15 : codes[column / 2] >> 4
  }

  /// Why a file cannot hold a matrix; nil when it can.
  static func refusal(_ codec: any Codec, columns: Int) -> String? {
    guard let type = type(of: codec) else { return "GGUF has no type for it" }
    guard columns % type.blockCount == 0 else {
      return "\(columns) columns are not whole blocks of \(type.blockCount)"
    }
    return nil
  }
}
