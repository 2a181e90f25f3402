import Codecs
import OrderedCollections
import SafeIO
import TensorCore

extension CompressedTensorsLayout {
  /// The tensors of a checkpoint with these weights; quantized ones must be called `<module>.weight`.
  /// - Throws: ``CompressedTensorsError/unrepresentable(weight:encoding:reason:)``, naming the first weight that the
  ///   layout cannot hold.
  public static func tensors(
    for weights: OrderedDictionary<String, Weight>
  ) throws(CompressedTensorsError) -> OrderedDictionary<String, Tensor> {
    var result: OrderedDictionary<String, Tensor> = [:]
    for (name, weight) in weights {
      switch weight {
      case .dense(let tensor): result[name] = tensor
      case .encoded(let matrix): result.merge(try tensors(of: name, matrix)) { $1 }
      }
    }
    return result
  }

  /// The tensors of one quantized weight.
  /// - Throws: ``CompressedTensorsError/unrepresentable(weight:encoding:reason:)``.
  public static func tensors(
    of name: String, _ matrix: EncodedMatrix
  ) throws(CompressedTensorsError) -> OrderedDictionary<String, Tensor> {
    let codec = try representable(name, matrix)
    let module = split(name).module
    var result: OrderedDictionary<String, Tensor> = [:]
    guard let codes = matrix.planes["codes"], let scales = matrix.planes["scales"] else {
      throw .unrepresentable(weight: name, encoding: codec.canonicalName, reason: "planes are missing")
    }
    do throws(TensorCoreError) {
      result[module + ".weight_packed"] = try words(codes, columns: matrix.columns, bits: codec.bits)
      result[module + ".weight_scale"] = scales
      let shape = [matrix.rows, matrix.columns].flatMap { size in
        (0..<8).map { UInt8(truncatingIfNeeded: size >> ($0 * 8)) }
      }
      result[module + ".weight_shape"] = try Tensor(bytes: shape, elementType: .i64, shape: [2])
      if let zeros = matrix.planes["zeros"] {
        result[module + ".weight_zero_point"] = try packedZeros(zeros, bits: codec.bits)
      }
    } catch {
      throw .tensor(
        name: name, problem: error.diagnostic.message, expected: error.diagnostic.expected,
        found: error.diagnostic.found)
    }
    return result
  }

  /// The codec when the layout can hold its matrices.
  static func representable(
    _ name: String, _ matrix: EncodedMatrix
  ) throws(CompressedTensorsError) -> IntegerGroupCodec {
    guard let codec = matrix.codec as? IntegerGroupCodec else {
      throw .unrepresentable(
        weight: name, encoding: matrix.codec.canonicalName, reason: "it holds integers with scales only")
    }
    guard split(name).part == "weight", !split(name).module.isEmpty else {
      throw .unrepresentable(
        weight: name, encoding: codec.canonicalName, reason: "quantized weights must be named <module>.weight"
      )
    }
    let length = codec.groupLength(columns: matrix.columns)
    guard matrix.columns % length == 0 else {
      throw .unrepresentable(
        weight: name, encoding: codec.canonicalName,
        reason: "groups of \(length) do not divide \(matrix.columns) columns")
    }
    return codec
  }

  /// Rows of bytes as rows of whole 32-bit words.
  private static func words(_ codes: Tensor, columns: Int, bits: Int) throws(TensorCoreError) -> Tensor {
    let rows = codes.shape.dimensions[0]
    let rowBytes = codes.shape.dimensions[1]
    let wordCount = Checked.ceilingQuotient(columns * bits, 32)
    let shape = try Shape([rows, wordCount])
    if 4 * wordCount == rowBytes {
      return try Tensor(elementType: .i32, shape: shape, region: codes.region, byteOffset: codes.byteOffset)
    }
    let region = unsafe MemoryRegion(byteCount: 4 * shape.elementCount) { target in
      unsafe codes.withBytes { source in
        for row in 0..<rows {
          let part = unsafe UnsafeRawBufferPointer(rebasing: source[row * rowBytes..<(row + 1) * rowBytes])
          unsafe UnsafeMutableRawBufferPointer(
            rebasing: target[row * 4 * wordCount..<(row + 1) * 4 * wordCount]
          )
          .copyBytes(from: part)
        }
      }
    }
    return try Tensor(elementType: .i32, shape: shape, region: region)
  }

  /// Zero points `[rows, groups]` packed along the rows.
  private static func packedZeros(_ zeros: Tensor, bits: Int) throws(TensorCoreError) -> Tensor {
    let rows = zeros.shape.dimensions[0]
    let groups = zeros.shape.dimensions[1]
    let wordCount = Checked.ceilingQuotient(rows * bits, 32)
    var words = [UInt32](repeating: 0, count: wordCount * groups)
    unsafe zeros.withBytes { source in
      for row in 0..<rows {
        for group in 0..<groups {
          let bit = row * bits
          let value = UInt64(unsafe source[row * groups + group]) << UInt64(bit % 32)
          words[bit / 32 * groups + group] |= UInt32(truncatingIfNeeded: value)
          if value >> 32 != 0 {
            words[(bit / 32 + 1) * groups + group] |= UInt32(truncatingIfNeeded: value >> 32)
          }
        }
      }
    }
    return try Tensor(words.map { Int32(bitPattern: $0) }, shape: Shape([wordCount, groups]))
  }
}
