import Codecs
import OrderedCollections
import SafeIO
import TensorCore

/// The tensors of one quantized module and how they make a matrix.
struct ModuleParts {
  let module: String
  let tensors: OrderedDictionary<String, Tensor>

  var scale: Tensor? { tensors[module + ".weight_scale"] }
  var isPacked: Bool { tensors[module + ".weight_packed"] != nil }
  var hasWeight: Bool { isPacked || tensors[module + ".weight"] != nil }
  var zeroPoint: Tensor? { tensors[module + ".weight_zero_point"] }

  /// Whether the weight is stored as it was before quantization.
  var isStoredDense: Bool {
    guard !isPacked, let weight = tensors[module + ".weight"] else { return false }
    return [.f32, .f16, .bf16, .f64].contains(weight.elementType)
  }

  /// Packed codes: integers in 32-bit words, `[rows, words]`, or pairs of 4-bit floats, `[rows, columns / 2]`.
  func packed(
    _ words: Tensor, _ configuration: CompressedTensorsConfiguration
  ) throws(CompressedTensorsError) -> EncodedMatrix {
    guard words.shape.rank == 2, words.shape.elementCount > 0, words.shape.elementCount < 1 << 48 else {
      throw .unsupported(form: module, reason: "packed weights of shape \(words.shape)")
    }
    switch words.elementType {
    case .i32: return try packedIntegers(words, configuration.integerArguments)
    case .u8: return try fourBitFloats(words)
    default:
      throw .unsupported(form: module, reason: "packed weights of type \(words.elementType.name)")
    }
  }

  // MARK: pack-quantized

  private func packedIntegers(
    _ words: Tensor, _ candidates: [QuantizationArguments]
  ) throws(CompressedTensorsError) -> EncodedMatrix {
    let (rows, columns) = try matrixShape(words)
    let groups = try groupCount(rows: rows)
    let (arguments, isDense) = try choose(candidates, words, columns: columns, groups: groups)
    let index = try groupIndex(columns: columns, groups: groups, arguments)
    let codec = try codec(
      bits: arguments.bits, groups == 1 ? nil : arguments.groupSize, hasGroupIndex: index != nil)
    let codes =
      isDense
      ? try denseCodes(words, rows: rows, columns: columns, bits: arguments.bits)
      : try spreadCodes(words, rows: rows, columns: columns, bits: arguments.bits)
    return try matrix(
      codec, rows: rows, columns: columns, groups: groups, codes: codes, index: index, isDense: isDense)
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
  func groupCount(rows: Int) throws(CompressedTensorsError) -> Int {
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
      if groups == 1 { candidate.strategy = .channel }
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

  /// The group of each column when that is not simply one group after another.
  private func groupIndex(
    columns: Int, groups: Int, _ arguments: QuantizationArguments
  ) throws(CompressedTensorsError) -> Tensor? {
    let name = module + ".weight_g_idx"
    guard let index = tensors[name] else { return nil }
    let size = arguments.groupSize ?? columns
    guard index.elementType == .i32, index.shape.dimensions == [columns], let values = try? index.integers()
    else {
      throw .tensor(
        name: name, problem: "a group for each column is needed", expected: "i32 [\(columns)]",
        found: "\(index.elementType.name) \(index.shape)")
    }
    // Writers fill an unused index with -1.
    if values.allSatisfy({ $0 == -1 }) { return nil }
    if let wild = values.first(where: { !(0..<Int64(groups)).contains($0) }) {
      throw .tensor(
        name: name, problem: "a column is of a group that is not there", expected: "groups below \(groups)",
        found: "\(wild)")
    }
    return values.indices.allSatisfy { values[$0] == Int64($0 / size) } ? nil : index
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
      let region = unsafe MemoryRegion.deferred(byteCount: rows * rowBytes) { target in
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
    let region = unsafe MemoryRegion.deferred(byteCount: rows * rowBytes) { target in
      var packed = [UInt8](repeating: 0, count: rowBytes)
      var codes = [UInt8](repeating: 0, count: columns)
      unsafe words.withBytes { source in
        for row in 0..<rows {
          for column in 0..<columns {
            let place = 4 * (row * wordCount + column / perWord)
            let word = unsafe source.loadUnaligned(fromByteOffset: place, as: UInt32.self)
            codes[column] = UInt8(truncatingIfNeeded: (word >> (bits * (column % perWord))) & (1 << bits - 1))
          }
          var span = packed.mutableSpan
          BitPacking.pack(codes.span, bits: bits, into: &span)
          unsafe UnsafeMutableRawBufferPointer(rebasing: target[row * rowBytes..<(row + 1) * rowBytes])
            .copyBytes(from: packed)
        }
      }
    }
    do throws(TensorCoreError) {
      return try Tensor(elementType: .u8, shape: Shape([rows, rowBytes]), region: region)
    } catch { throw failure("weight_packed", error) }
  }
}
