import Codecs
import OrderedCollections
import SafeIO
import TensorCore

/// The tensors of one quantized module and how they make a matrix.
struct ModuleParts {
  let module: String
  let tensors: OrderedDictionary<String, Tensor>

  var scale: Tensor? { tensors[module + ".weight_scale"] }
  var hasWeight: Bool { tensors[module + ".weight_packed"] != nil || tensors[module + ".weight"] != nil }
  private var zeroPoint: Tensor? { tensors[module + ".weight_zero_point"] }

  // MARK: pack-quantized

  /// Codes in 32-bit words, `[rows, words]`.
  func packed(_ words: Tensor, _ candidates: [QuantizationArguments]) throws(CompressedTensorsError)
    -> EncodedMatrix
  {
    guard words.elementType == .i32, words.shape.rank == 2 else {
      throw .unsupported(
        module: module, form: "packed weights of type \(words.elementType.name) \(words.shape)")
    }
    let (rows, columns) = try matrixShape(words)
    let groups = try groupCount(rows: rows)
    let (arguments, isDense) = try choose(candidates, words, columns: columns, groups: groups)
    try checkGroupIndex(columns: columns, arguments)
    let codec = try codec(bits: arguments.bits, groups == 1 ? nil : arguments.groupSize)
    let codes =
      isDense
      ? try denseCodes(words, rows: rows, columns: columns, bits: arguments.bits)
      : try spreadCodes(words, rows: rows, columns: columns, bits: arguments.bits)
    return try matrix(codec, rows: rows, columns: columns, groups: groups, codes: codes, isDense: isDense)
  }

  private func matrixShape(_ words: Tensor) throws(CompressedTensorsError) -> (rows: Int, columns: Int) {
    let name = module + ".weight_shape"
    guard let tensor = tensors[name] else {
      throw .tensor(name: name, problem: "the tensor is missing", expected: nil, found: nil)
    }
    guard tensor.shape.elementCount == 2, let values = try? tensor.integers() else {
      throw .tensor(
        name: name, problem: "two integers are needed", expected: "i64 [2]",
        found: "\(tensor.elementType.name) \(tensor.shape)")
    }
    let rows = words.shape.dimensions[0]
    let wordCount = words.shape.dimensions[1]
    guard values[0] == Int64(rows), values[1] > 0, values[1] <= Int64(wordCount) * 32 else {
      throw .tensor(
        name: name, problem: "the shape does not fit the packed codes", expected: "\(rows) rows",
        found: "\(values)")
    }
    return (rows, Int(values[1]))
  }

  /// Scales of a row: 1 when one scale serves the whole row or the whole tensor.
  private func groupCount(rows: Int) throws(CompressedTensorsError) -> Int {
    let name = module + ".weight_scale"
    guard let scale else {
      throw .tensor(name: name, problem: "the tensor is missing", expected: nil, found: nil)
    }
    if scale.shape.elementCount == 1 { return 1 }
    guard scale.shape.rank == 2, scale.shape.dimensions[0] == rows, scale.shape.dimensions[1] > 0 else {
      throw .tensor(
        name: name, problem: "scales do not fit the weight", expected: "[\(rows), groups]",
        found: "\(scale.shape)")
    }
    return scale.shape.dimensions[1]
  }

  /// The arguments of the configuration that give these shapes, and whether the words are a dense bit stream.
  private func choose(
    _ candidates: [QuantizationArguments], _ words: Tensor, columns: Int, groups: Int
  ) throws(CompressedTensorsError) -> (QuantizationArguments, isDense: Bool) {
    var fits: [(QuantizationArguments, isDense: Bool)] = []
    let wordCount = words.shape.dimensions[1]
    for var candidate in candidates {
      guard candidate.isSymmetric == (zeroPoint == nil) else { continue }
      let expected = candidate.groupSize.map { Checked.ceilingQuotient(columns, $0) } ?? 1
      guard expected == groups else { continue }
      if groups == 1 { candidate.groupSize = nil }
      let isDense = wordCount == Checked.ceilingQuotient(columns * candidate.bits, 32)
      let isSpread = wordCount == Checked.ceilingQuotient(columns, 32 / candidate.bits)
      guard isDense || isSpread, !fits.contains(where: { $0.0 == candidate }) else { continue }
      fits.append((candidate, isDense && !(isSpread && hasSpareBits(words, bits: candidate.bits))))
    }
    guard let first = fits.first else {
      throw .tensor(
        name: module + ".weight_packed",
        problem: "no group of the configuration gives tensors of these shapes",
        expected: nil,
        found:
          "\(words.shape) words for \(columns) columns in \(groups) groups, zero points \(zeroPoint != nil)")
    }
    guard fits.count == 1 else {
      throw .tensor(
        name: module + ".weight_packed",
        problem: "several groups of the configuration give tensors of these shapes",
        expected: nil, found: fits.map { "\($0.0.bits) bits" }.joined(separator: ", "))
    }
    return first
  }

  /// Whether the top bits that the older way of packing leaves over are zero in every word. This decides for the few
  /// narrow matrices that take as many words either way.
  private func hasSpareBits(_ words: Tensor, bits: Int) -> Bool {
    guard 32 % bits != 0 else { return false }
    let used = UInt32(32 / bits * bits)
    return unsafe words.withBytes { source in
      (0..<source.count / 4).allSatisfy { index in
        unsafe source.loadUnaligned(fromByteOffset: 4 * index, as: UInt32.self) >> used == 0
      }
    }
  }

  /// An index of groups is fine as long as it says what would be so without it.
  private func checkGroupIndex(columns: Int, _ arguments: QuantizationArguments)
    throws(CompressedTensorsError)
  {
    let name = module + ".weight_g_idx"
    guard let index = tensors[name] else { return }
    let size = arguments.groupSize ?? columns
    guard let values = try? index.integers(), values.count == columns else {
      throw .tensor(
        name: name, problem: "a group for each column is needed", expected: "i32 [\(columns)]",
        found: "\(index.shape)")
    }
    // Writers fill an unused index with -1.
    if values.allSatisfy({ $0 == -1 }) { return }
    guard values.enumerated().allSatisfy({ $1 == Int64($0 / size) }) else {
      throw .unsupported(
        module: module, form: "columns in another order than their groups (actorder \"group\")")
    }
  }

  private func denseCodes(_ words: Tensor, rows: Int, columns: Int, bits: Int) throws(CompressedTensorsError)
    -> Tensor
  {
    let rowBytes = BitPacking.bytesPerRow(count: columns, bits: bits)
    let stride = 4 * words.shape.dimensions[1]
    do throws(TensorCoreError) {
      if stride == rowBytes {
        return try Tensor(
          elementType: .u8, shape: Shape([rows, rowBytes]), region: words.region, byteOffset: words.byteOffset
        )
      }
      let region = unsafe MemoryRegion(byteCount: rows * rowBytes) { target in
        unsafe words.withBytes { source in
          for row in 0..<rows {
            let part = unsafe UnsafeRawBufferPointer(rebasing: source[row * stride..<row * stride + rowBytes])
            unsafe UnsafeMutableRawBufferPointer(rebasing: target[row * rowBytes..<(row + 1) * rowBytes])
              .copyMemory(from: part)
          }
        }
      }
      return try Tensor(elementType: .u8, shape: Shape([rows, rowBytes]), region: region)
    } catch { throw failure("weight_packed", error) }
  }

  /// The older way: as many whole codes as fit a word, its top bits unused.
  private func spreadCodes(_ words: Tensor, rows: Int, columns: Int, bits: Int) throws(CompressedTensorsError)
    -> Tensor
  {
    let perWord = 32 / bits
    let wordCount = words.shape.dimensions[1]
    let rowBytes = BitPacking.bytesPerRow(count: columns, bits: bits)
    var bytes = [UInt8](repeating: 0, count: rows * rowBytes)
    var codes = [UInt8](repeating: 0, count: columns)
    unsafe words.withBytes { source in
      var target = bytes.mutableSpan
      for row in 0..<rows {
        for column in 0..<columns {
          let place = 4 * (row * wordCount + column / perWord)
          let word = unsafe source.loadUnaligned(fromByteOffset: place, as: UInt32.self)
          codes[column] = UInt8(truncatingIfNeeded: (word >> (bits * (column % perWord))) & (1 << bits - 1))
        }
        var rowBytesSpan = target._mutatingExtracting(row * rowBytes..<(row + 1) * rowBytes)
        BitPacking.pack(codes.span, bits: bits, into: &rowBytesSpan)
      }
    }
    do throws(TensorCoreError) {
      return try Tensor(bytes: bytes, elementType: .u8, shape: Shape([rows, rowBytes]))
    } catch { throw failure("weight_packed", error) }
  }

  // MARK: int-quantized

  /// Codes as signed bytes, `[rows, columns]`; their range is not looked at, so that they make 8-bit codes.
  func integers(_ codes: Tensor) throws(CompressedTensorsError) -> EncodedMatrix {
    guard codes.shape.rank == 2, codes.shape.elementCount > 0 else {
      throw .tensor(
        name: module + ".weight", problem: "a matrix is needed", expected: nil, found: "\(codes.shape)")
    }
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
    let region = unsafe MemoryRegion(byteCount: codes.byteCount) { target in
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

  // MARK: Both

  private func codec(bits: Int, _ groupSize: Int?) throws(CompressedTensorsError) -> IntegerGroupCodec {
    do throws(CodecError) {
      return try IntegerGroupCodec(
        bits: bits, groupSize: groupSize, isSymmetric: zeroPoint == nil, scaleType: scale?.elementType ?? .f32
      )
    } catch { throw .codec(module: module, error) }
  }

  private func matrix(
    _ codec: IntegerGroupCodec, rows: Int, columns: Int, groups: Int, codes: Tensor,
    isDense: Bool = true
  ) throws(CompressedTensorsError) -> EncodedMatrix {
    var planes: OrderedDictionary<String, Tensor> = ["codes": codes]
    planes["scales"] = try scales(rows: rows, groups: groups)
    if let zeroPoint {
      planes["zeros"] = try zeros(zeroPoint, rows: rows, groups: groups, bits: codec.bits, isDense: isDense)
    }
    do throws(CodecError) {
      return try EncodedMatrix(codec: codec, rows: rows, columns: columns, planes: planes)
    } catch { throw .codec(module: module, error) }
  }

  /// The scales as `[rows, groups]`, finite; one for the whole tensor is repeated.
  private func scales(rows: Int, groups: Int) throws(CompressedTensorsError) -> Tensor {
    guard let scale else {
      throw .tensor(
        name: module + ".weight_scale", problem: "the tensor is missing", expected: nil, found: nil)
    }
    do throws(TensorCoreError) {
      if let index = try scale.floats().firstIndex(where: { !$0.isFinite }) {
        throw TensorCoreError.shapeMismatch(expected: "finite scales", found: "scale \(index) is not finite")
      }
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

  private func failure(_ part: String, _ error: TensorCoreError) -> CompressedTensorsError {
    .tensor(
      name: "\(module).\(part)", problem: error.diagnostic.message, expected: error.diagnostic.expected,
      found: error.diagnostic.found)
  }
}
