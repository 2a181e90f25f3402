import CKernels
import OrderedCollections
import TensorCore

/// The GGML block formats with one scale to 32 weights (`q4_0` to `q8_0`) and the k-quants (`q2_k` to `q6_k`), which
/// have 256 weights and two levels of scales.
///
/// Decoding gives the floats of the formats' reference decoders, bit for bit. Encoding with ``ScaleSearch/extremes``
/// gives the bytes of the reference quantizers of `q4_0` to `q8_0`; for k-quants, whose reference is itself a search,
/// it means the same as ``ScaleSearch/leastSquares(steps:smallest:)``. That one is a search of our own, over its own
/// fixed set of candidates, for the least squared error weighted by importance; for `q4_0` to `q8_0` it is never worse
/// than the extremes. Every instruction set gives the same bytes.
public struct GGMLCodec: BlockCodec, Hashable {
  /// The formats; raw values are the canonical names.
  public enum Format: String, Sendable, CaseIterable {
    case q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k, q6_k

    /// Values of a block.
    public var blockLength: Int {
      switch self {
      case .q4_0, .q4_1, .q5_0, .q5_1, .q8_0: 32
      case .q2_k, .q3_k, .q4_k, .q5_k, .q6_k: 256
      }
    }

    /// Bytes of a block.
    public var blockByteCount: Int {
      switch self {
      case .q4_0: 18
      case .q4_1: 20
      case .q5_0: 22
      case .q5_1: 24
      case .q8_0: 34
      case .q2_k: 84
      case .q3_k: 110
      case .q4_k: 144
      case .q5_k: 176
      case .q6_k: 210
      }
    }

    /// Offsets of the f16 factors in a block: all others multiply them.
    var factorOffsets: [Int] {
      switch self {
      case .q4_0, .q5_0, .q8_0: [0]
      case .q4_1, .q5_1, .q4_k, .q5_k: [0, 2]
      case .q2_k: [80, 82]
      case .q3_k: [108]
      case .q6_k: [208]
      }
    }

    /// The row of the kernel table.
    var kernel: Int {
      switch self {
      case .q4_0: Int(CK_BLOCK_Q4_0)
      case .q4_1: Int(CK_BLOCK_Q4_1)
      case .q5_0: Int(CK_BLOCK_Q5_0)
      case .q5_1: Int(CK_BLOCK_Q5_1)
      case .q8_0: Int(CK_BLOCK_Q8_0)
      case .q2_k: Int(CK_BLOCK_Q2_K)
      case .q3_k: Int(CK_BLOCK_Q3_K)
      case .q4_k: Int(CK_BLOCK_Q4_K)
      case .q5_k: Int(CK_BLOCK_Q5_K)
      case .q6_k: Int(CK_BLOCK_Q6_K)
      }
    }
  }

  /// Which format.
  public let format: Format
  /// The kernels; tests choose slower ones.
  package var kernels: BlockKernels

  /// The codec of a format.
  public init(_ format: Format) {
    self.format = format
    self.kernels = .best
  }

  /// The name of the format.
  public var canonicalName: String { format.rawValue }

  /// Values of a block.
  public var blockLength: Int { format.blockLength }

  /// Bytes of a block.
  public var blockByteCount: Int { format.blockByteCount }

  /// Codecs of one format are equal, whatever their kernels.
  public static func == (left: GGMLCodec, right: GGMLCodec) -> Bool { left.format == right.format }

  /// Hashes the format.
  public func hash(into hasher: inout Hasher) { hasher.combine(format) }

  /// Writes the values of rows; see ``Codec``.
  public func decode(
    _ matrix: EncodedMatrix, rows: Range<Int>, into target: UnsafeMutableBufferPointer<Float>
  ) {
    let blocks = matrix.columns / blockLength
    precondition(rows.lowerBound >= 0 && rows.upperBound <= matrix.rows, "rows out of range")
    precondition(target.count >= rows.count * matrix.columns, "the target is too small")
    guard let start = target.baseAddress, let plane = matrix.planes["blocks"] else { return }
    unsafe plane.withBytes { bytes in
      guard let first = unsafe bytes.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return }
      unsafe kernels.decode(
        format, first + rows.lowerBound * blocks * blockByteCount, count: rows.count * blocks, into: start)
    }
  }
}

extension GGMLCodec {
  /// The rows of the registry.
  static let entries = Format.allCases.map { format in
    let bits = GGMLCodec(format).bitsPerWeight(columns: format.blockLength)
    return CodecEntry(
      GGMLCodec(format),
      summary: "GGML blocks of \(format.blockLength), \(bits) bits per weight")
  }
}

extension BlockCodec {
  /// Exact storage in bits per weight, for whole blocks.
  public func bitsPerWeight(columns: Int) -> Double {
    Double(blockByteCount * 8) / Double(blockLength)
  }

  /// Checks the plane; see ``Codec``.
  public func validate(_ matrix: EncodedMatrix) throws(CodecError) {
    guard matrix.rows >= 0, (0...Int.max / 16).contains(matrix.columns), matrix.columns % blockLength == 0
    else {
      throw .damagedPlane(
        codec: canonicalName, plane: "blocks", expected: "rows of whole blocks of \(blockLength)",
        found: "\(matrix.rows) x \(matrix.columns)")
    }
    let dimensions = [matrix.rows, matrix.columns / blockLength * blockByteCount]
    let expected = "\(ElementType.u8.name)\(dimensions)"
    guard let plane = matrix.planes["blocks"] else {
      throw .damagedPlane(codec: canonicalName, plane: "blocks", expected: expected, found: "nothing")
    }
    guard plane.elementType == .u8, plane.shape.dimensions == dimensions else {
      throw .damagedPlane(
        codec: canonicalName, plane: "blocks", expected: expected,
        found: "\(plane.elementType.name)\(plane.shape)")
    }
    if let extra = matrix.planes.keys.first(where: { $0 != "blocks" }) {
      throw .damagedPlane(codec: canonicalName, plane: extra, expected: "nothing", found: "a plane")
    }
  }

  /// Adopts the bytes of whole blocks, such as those of a tensor in a GGUF file, whatever their shape.
  /// - Throws: ``CodecError/damagedPlane(codec:plane:expected:found:)``.
  public func matrix(rows: Int, columns: Int, blocks: Tensor) throws(CodecError) -> EncodedMatrix {
    let plane: Tensor
    do throws(TensorCoreError) {
      let width = try Checked.product(columns / blockLength, blockByteCount)
      plane = try blocks.reshaped(to: Shape([rows, width]))
    } catch {
      throw .damagedPlane(
        codec: canonicalName, plane: "blocks", expected: "\(rows) x \(columns) values",
        found: "\(blocks.elementType.name)\(blocks.shape)")
    }
    return try EncodedMatrix(codec: self, rows: rows, columns: columns, planes: ["blocks": plane])
  }
}
