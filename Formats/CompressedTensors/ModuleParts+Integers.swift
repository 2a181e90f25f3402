import Codecs
import OrderedCollections
import TensorCore

extension ModuleParts {
  /// Codes as signed bytes, `[rows, columns]`; their range is not looked at, so that they make 8-bit codes.
  func integers(_ codes: Tensor) throws(CompressedTensorsError) -> EncodedMatrix {
    let rows = codes.shape.dimensions[0]
    let columns = codes.shape.dimensions[1]
    let groups = try groupCount(rows: rows)
    guard columns % groups == 0 else {
      throw .tensor(
        name: module + ".weight_scale", problem: "groups do not divide the columns",
        expected: "a divisor of \(columns)",
        found: "\(groups)")
    }
    let codec = try codec(bits: 8, groups == 1 ? nil : columns / groups)
    let region = unsafe MemoryRegion.deferred(byteCount: codes.byteCount) { target in
      unsafe codes.withBytes { source in
        for index in 0..<source.count { unsafe target[index] = source[index] ^ 0x80 }
      }
    }
    let plane: Tensor
    do throws(TensorCoreError) {
      plane = try Tensor(elementType: .u8, shape: codes.shape, region: region)
    } catch {
      throw failure("weight", error)
    }
    return try matrix(codec, rows: rows, columns: columns, groups: groups, codes: plane)
  }

  /// The codec of integers with these scales.
  func codec(
    bits: Int, _ groupSize: Int?, hasGroupIndex: Bool = false
  ) throws(CompressedTensorsError) -> IntegerGroupCodec {
    do throws(CodecError) {
      return try IntegerGroupCodec(
        bits: bits, groupSize: groupSize, isSymmetric: zeroPoint == nil,
        scaleType: scale?.elementType ?? .f32, hasGroupIndex: hasGroupIndex)
    } catch { throw .codec(module: module, error) }
  }

  /// Codes with scales and zero points.
  func matrix(
    _ codec: IntegerGroupCodec, rows: Int, columns: Int, groups: Int, codes: Tensor, index: Tensor? = nil,
    isDense: Bool = true
  ) throws(CompressedTensorsError) -> EncodedMatrix {
    var planes: OrderedDictionary<String, Tensor> = ["codes": codes]
    planes["scales"] = try scales(rows: rows, groups: groups)
    if let zeroPoint {
      planes["zeros"] = try zeros(zeroPoint, rows: rows, groups: groups, bits: codec.bits, isDense: isDense)
    }
    planes["group_index"] = index
    do throws(CodecError) {
      return try EncodedMatrix(codec: codec, rows: rows, columns: columns, planes: planes)
    } catch { throw .codec(module: module, error) }
  }

  /// The scales as `[rows, groups]`; one for the whole tensor is repeated.
  private func scales(rows: Int, groups: Int) throws(CompressedTensorsError) -> Tensor {
    guard let scale else {
      throw .tensor(
        name: module + ".weight_scale", problem: "the tensor is missing", expected: nil, found: nil)
    }
    do throws(TensorCoreError) {
      let shape = try Shape([rows, groups])
      if scale.shape.elementCount == shape.elementCount { return try scale.reshaped(to: shape) }
      let bytes = unsafe scale.withBytes { unsafe Array($0) }
      return try Tensor(
        bytes: (0..<rows).flatMap { _ in bytes }, elementType: scale.elementType, shape: shape)
    } catch { throw failure("weight_scale", error) }
  }

  /// Zero points as unsigned codes `[rows, groups]`: signed bytes, or packed along the rows.
  private func zeros(
    _ tensor: Tensor, rows: Int, groups: Int, bits: Int, isDense: Bool
  ) throws(CompressedTensorsError)
    -> Tensor
  {
    let name = module + ".weight_zero_point"
    var zeros = [UInt8](repeating: 0, count: rows * groups)
    if tensor.elementType == .i8 && [1, rows * groups].contains(tensor.shape.elementCount) {
      let offset = 1 << (bits - 1)
      let values = unsafe tensor.withBytes { unsafe $0.map { Int(Int8(bitPattern: $0)) + offset } }
      guard let low = values.min(), let high = values.max(), low >= 0, high < 1 << bits else {
        throw .tensor(
          name: name, problem: "a zero point is outside of \(bits) bits", expected: nil, found: nil)
      }
      for index in zeros.indices { zeros[index] = UInt8(values[values.count == 1 ? 0 : index]) }
    } else {
      let wordCount = Checked.ceilingQuotient(isDense ? rows * bits : rows, isDense ? 32 : 32 / bits)
      guard tensor.elementType == .i32, tensor.shape.dimensions == [wordCount, groups]
      else {
        throw .tensor(
          name: name, problem: "zero points do not fit the weight", expected: "i32 [\(wordCount), \(groups)]",
          found: "\(tensor.elementType.name) \(tensor.shape)")
      }
      unpackZeros(tensor, into: &zeros, rows: rows, groups: groups, bits: bits, isDense: isDense)
    }
    do throws(TensorCoreError) {
      return try Tensor(bytes: zeros, elementType: .u8, shape: Shape([rows, groups]))
    } catch { throw failure("weight_zero_point", error) }
  }

  private func unpackZeros(
    _ tensor: Tensor, into zeros: inout [UInt8], rows: Int, groups: Int, bits: Int, isDense: Bool
  ) {
    let perWord = 32 / bits
    let mask = UInt64(1) << UInt64(bits) - 1
    unsafe tensor.withBytes { source in
      func word(_ index: Int, _ group: Int) -> UInt64 {
        guard index < tensor.shape.dimensions[0] else { return 0 }
        return UInt64(
          unsafe source.loadUnaligned(fromByteOffset: 4 * (index * groups + group), as: UInt32.self))
      }
      for row in 0..<rows {
        for group in 0..<groups {
          let bit = isDense ? row * bits : row / perWord * 32 + row % perWord * bits
          let pair = word(bit / 32, group) | word(bit / 32 + 1, group) << 32
          zeros[row * groups + group] = UInt8(truncatingIfNeeded: (pair >> UInt64(bit % 32)) & mask)
        }
      }
    }
  }

  /// The error for a part that is wrong in itself.
  func failure(_ part: String, _ error: TensorCoreError) -> CompressedTensorsError {
    .tensor(
      name: "\(module).\(part)", problem: error.diagnostic.message, expected: error.diagnostic.expected,
      found: error.diagnostic.found)
  }
}
