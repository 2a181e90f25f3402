import Codecs
import OrderedCollections
import SafeIO
import TensorCore

extension CompressedTensorsLayout {
  /// Why the layout cannot hold a matrix; nil when it can.
  public static func refusal(_ codec: any Codec, rows: Int, columns: Int) -> String? {
    guard CompressedTensorsForm(codec) != nil else {
      return "it holds integers with scales, FP8 (E4M3), NVFP4, MXFP4 and MXFP8"
    }
    guard let codec = codec as? IntegerGroupCodec else { return nil }
    guard !codec.hasGroupIndex else {
      return "columns of a group must be neighbours; readers of act-order are gone from this layout"
    }
    let length = codec.groupLength(columns: columns)
    return columns % length == 0 ? nil : "\(columns) columns are not whole groups of \(length)"
  }

  /// The tensors of one quantized weight `<module>.weight`.
  /// - Parameter activations: how its input is quantized, which decides the form of integers.
  /// - Throws: ``CompressedTensorsError/unrepresentable(weight:encoding:reason:)``.
  public static func tensors(
    of name: String, _ matrix: EncodedMatrix, style: CompressedTensorsStyle = CompressedTensorsStyle(),
    activations: InputQuantization? = nil
  ) throws(CompressedTensorsError) -> OrderedDictionary<String, Tensor> {
    let form = try form(name, matrix, style, activations?.scheme)
    let (module, codes, scales) = try parts(of: name, matrix)
    do throws(TensorCoreError) {
      switch form.kind {
      case .packed: return try packed(module, matrix, codes, scales)
      case .wholeBytes: return try wholeBytes(module, matrix, codes, scales)
      case .eightBitFloats:
        return [
          module + ".weight": try codes.reinterpreted(as: .f8e4m3, shape: codes.shape),
          module + ".weight_scale": scales,
        ]
      case .mxfp8:
        return [
          module + ".weight": try codes.reinterpreted(as: .f8e4m3, shape: codes.shape),
          module + ".weight_scale": scales,
        ]
      case .mxfp4: return [module + ".weight_packed": codes, module + ".weight_scale": scales]
      case .nvfp4:
        let factor = try matrix.planes["global_scale"]?.floats().first ?? 1
        let inverse = try Tensor([1 / factor], shape: [1])
        return [
          module + ".weight_packed": codes,
          module + ".weight_scale": try scales.reinterpreted(as: .f8e4m3, shape: scales.shape),
          module + ".weight_global_scale": matrix.planes["global_divisor"] ?? inverse,
        ]
      }
    } catch {
      throw .tensor(
        name: name, problem: error.diagnostic.message, expected: error.diagnostic.expected,
        found: error.diagnostic.found)
    }
  }

  /// The form of a matrix when the layout can hold it. Engines look for integers whose inputs are quantized in whole bytes.
  static func form(
    _ name: String, _ matrix: EncodedMatrix, _ style: CompressedTensorsStyle, _ scheme: ActivationScheme?
  ) throws(CompressedTensorsError) -> CompressedTensorsForm {
    _ = try module(of: name, matrix)
    let isEightBit = (matrix.codec as? IntegerGroupCodec)?.bits == 8
    let wholeBytes = scheme.map { $0.kind != .float32 } ?? false || (style.wholeBytes && isEightBit)
    guard let form = CompressedTensorsForm(matrix.codec, wholeBytes: wholeBytes) else {
      throw .unrepresentable(
        weight: name, encoding: matrix.codec.canonicalName, reason: "it has no form for it")
    }
    return form
  }

  // MARK: Integers

  private static func packed(
    _ module: String, _ matrix: EncodedMatrix, _ codes: Tensor, _ scales: Tensor
  ) throws(TensorCoreError) -> OrderedDictionary<String, Tensor> {
    let bits = (matrix.codec as? IntegerGroupCodec)?.bits ?? 8
    var result: OrderedDictionary<String, Tensor> = [
      module + ".weight_packed": try words(codes, columns: matrix.columns, bits: bits),
      module + ".weight_scale": scales,
    ]
    let shape = [matrix.rows, matrix.columns].flatMap { size in
      (0..<8).map { UInt8(truncatingIfNeeded: size >> ($0 * 8)) }
    }
    result[module + ".weight_shape"] = try Tensor(bytes: shape, elementType: .i64, shape: [2])
    if let zeros = matrix.planes["zeros"] {
      result[module + ".weight_zero_point"] = try packedZeros(zeros, bits: bits)
    }
    return result
  }

  private static func wholeBytes(
    _ module: String, _ matrix: EncodedMatrix, _ codes: Tensor, _ scales: Tensor
  ) throws(TensorCoreError) -> OrderedDictionary<String, Tensor> {
    guard let codec = matrix.codec as? IntegerGroupCodec else { return [:] }
    let middle = UInt8(1 << (codec.bits - 1))
    let shape = try Shape([matrix.rows, matrix.columns])
    let bytes =
      codec.bits == 8
      ? codes
      : try Tensor(
        bytes: codec.unpacked(matrix, rows: 0..<matrix.rows).codes, elementType: .u8, shape: shape)
    var result: OrderedDictionary<String, Tensor> = [
      module + ".weight": try signed(bytes, middle: middle), module + ".weight_scale": scales,
    ]
    if let zeros = matrix.planes["zeros"] {
      result[module + ".weight_zero_point"] = try signed(zeros, middle: middle)
    }
    return result
  }

  /// Codes around a middle as signed bytes.
  private static func signed(_ codes: Tensor, middle: UInt8) throws(TensorCoreError) -> Tensor {
    let region = unsafe MemoryRegion.deferred(byteCount: codes.byteCount) { target in
      unsafe codes.withBytes { source in
        for index in source.indices { unsafe target[index] = source[index] &- middle }
      }
    }
    return try Tensor(elementType: .i8, shape: codes.shape, region: region)
  }

  /// Rows of bytes as rows of whole 32-bit words.
  private static func words(_ codes: Tensor, columns: Int, bits: Int) throws(TensorCoreError) -> Tensor {
    let rows = codes.shape.dimensions[0]
    let rowBytes = codes.shape.dimensions[1]
    let wordCount = Checked.ceilingQuotient(columns * bits, 32)
    let shape = try Shape([rows, wordCount])
    if 4 * wordCount == rowBytes {
      return try codes.reinterpreted(as: .i32, shape: shape)
    }
    let region = unsafe MemoryRegion.deferred(byteCount: 4 * shape.elementCount) { target in
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
