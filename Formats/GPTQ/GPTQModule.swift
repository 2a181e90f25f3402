import Codecs
import OrderedCollections
import TensorCore

/// The tensors of one quantized module, checked against each other, and how they make a matrix.
struct GPTQModule {
  let name: String
  let codes: Tensor
  let zeros: Tensor
  let scales: Tensor
  let groupIndex: Tensor?
  let packing: FieldPacking
  let rows: Int
  let columns: Int
  /// How zero points are stored when all of them are the middle of the range; nil when they are not.
  let uniformVersion: GPTQVersion?

  private var groups: Int { scales.shape.dimensions[0] }

  init(
    _ name: String, _ tensors: OrderedDictionary<String, Tensor>, _ configuration: GPTQConfiguration
  ) throws(GPTQError) {
    self.name = name
    codes = try GPTQLayout.matrix(name + ".qweight", among: tensors, of: [.i32])
    zeros = try GPTQLayout.matrix(name + ".qzeros", among: tensors, of: [.i32])
    scales = try GPTQLayout.matrix(name + ".scales", among: tensors, of: [.f16, .bf16, .f32])
    groupIndex = tensors[name + ".g_idx"]
    let rows = codes.shape.dimensions[1]
    guard scales.shape.dimensions[1] == rows, zeros.shape.dimensions[0] == scales.shape.dimensions[0] else {
      throw .tensor(
        name: name + ".scales", problem: "scales do not fit codes and zero points",
        expected: "[\(zeros.shape.dimensions[0]), \(rows)]", found: "\(scales.shape)")
    }
    let bits = zeros.shape.dimensions[1] * 32 / rows
    guard zeros.shape.dimensions[1] * 32 == bits * rows, configuration.bits.contains(bits) else {
      throw .tensor(
        name: name + ".qzeros", problem: "zero points do not fit the configuration",
        expected: configuration.bits.sorted().map { "\(Double(rows * $0) / 32)" }.joined(separator: " or ")
          + " words for \(rows) outputs", found: "\(zeros.shape)")
    }
    let packing = FieldPacking(bits: bits, isPlanar: configuration.isPlanar)
    guard configuration.isPlanar || [2, 3, 4, 8].contains(bits) else {
      throw .unsupported(form: name, reason: "codes of \(bits) bits lie in planes, which is the form gptq_p")
    }
    let wordCount = codes.shape.dimensions[0]
    let columns = wordCount * 32 / bits
    guard columns * bits == wordCount * 32, packing.isStream || (columns % 32 == 0 && rows % 32 == 0) else {
      throw .tensor(
        name: name + ".qweight", problem: "words do not hold whole codes of \(bits) bits", expected: nil,
        found: "\(codes.shape)")
    }
    (self.packing, self.rows, self.columns) = (packing, rows, columns)
    uniformVersion = Self.uniformVersion(zeros, packing)
  }

  /// Compares the words with those of a symmetric module, without unpacking them.
  private static func uniformVersion(_ zeros: Tensor, _ packing: FieldPacking) -> GPTQVersion? {
    let middle = 1 << (packing.bits - 1)
    let wordCount = zeros.shape.elementCount
    return unsafe zeros.withBytes { bytes in
      for (version, code) in [(GPTQVersion.v1, middle - 1), (.v2, middle)] {
        // Rows consist of whole runs, or all words of a run are equal.
        let run = packing.run(of: code)
        let isUniform = (0..<wordCount).allSatisfy { word in
          let value = unsafe bytes.loadUnaligned(fromByteOffset: 4 * word, as: UInt32.self)
          return value == run[word % run.count]
        }
        if isUniform { return version }
      }
      return nil
    }
  }

  // MARK: The matrix

  /// - Parameter version: how the zero points are stored.
  func matrix(
    _ configuration: GPTQConfiguration, version: GPTQVersion, isSymmetric: Bool
  ) throws(GPTQError) -> EncodedMatrix {
    let groupSize = try groupSize(configuration)
    let index = try permutedIndex(groupSize)
    do throws(CodecError) {
      let codec = try IntegerGroupCodec(
        bits: packing.bits, groupSize: groupSize, isSymmetric: isSymmetric, scaleType: scales.elementType,
        hasGroupIndex: index != nil)
      var planes: OrderedDictionary<String, Tensor> = [:]
      do throws(TensorCoreError) {
        planes["codes"] = try codePlane()
        planes["scales"] = try scales.transposed()
        if !isSymmetric { planes["zeros"] = try zeroPlane(version) }
        planes["group_index"] = index
      } catch { throw CodecError.invalidParameters(codec: "gptq", reason: error.diagnostic.message) }
      return try EncodedMatrix(codec: codec, rows: rows, columns: columns, planes: planes)
    } catch { throw .codec(module: name, error) }
  }

  /// The declared size that gives as many groups as there are scales; nil for whole columns.
  private func groupSize(_ configuration: GPTQConfiguration) throws(GPTQError) -> Int? {
    for size in configuration.groupSizes {
      if size == -1 ? groups == 1 : Checked.ceilingQuotient(columns, size) == groups {
        return size == -1 ? nil : size
      }
    }
    throw .tensor(
      name: name + ".scales", problem: "no group size of the configuration gives these scales",
      expected:
        "groups of \(configuration.groupSizes.map(String.init).joined(separator: " or ")) among \(columns)",
      found: "\(groups) groups")
  }

  /// The group of each column when that is not simply one group after another.
  private func permutedIndex(_ groupSize: Int?) throws(GPTQError) -> Tensor? {
    guard let groupIndex else { return nil }
    let tensorName = name + ".g_idx"
    guard groupIndex.elementType == .i32, groupIndex.shape.dimensions == [columns],
      let values = try? groupIndex.integers()
    else {
      throw .tensor(
        name: tensorName, problem: "the group index does not fit the codes", expected: "i32 [\(columns)]",
        found: "\(groupIndex.elementType.name) \(groupIndex.shape)")
    }
    if let wild = values.first(where: { !(0..<Int64(groups)).contains($0) }) {
      throw .tensor(
        name: tensorName, problem: "a column is of a group that is not there",
        expected: "groups below \(groups)", found: "\(wild)")
    }
    let length = groupSize ?? columns
    return values.indices.allSatisfy { values[$0] == Int64($0 / length) } ? nil : groupIndex
  }

  /// Words `[words, rows]` of codes as rows of bytes.
  private func codePlane() throws(TensorCoreError) -> Tensor {
    let words = try codes.transposed()
    let rowBytes = BitPacking.bytesPerRow(count: columns, bits: packing.bits)
    let shape = try Shape([rows, rowBytes])
    if packing.isStream { return try words.reinterpreted(as: .u8, shape: shape) }
    let (packing, rows, columns) = (packing, rows, columns)
    let region = unsafe MemoryRegion.deferred(byteCount: shape.elementCount) { target in
      var values = [UInt8](repeating: 0, count: columns)
      var packed = [UInt8](repeating: 0, count: rowBytes)
      unsafe words.withBytes { source in
        for row in 0..<rows {
          let part = unsafe Array(source[row * rowBytes..<(row + 1) * rowBytes])
          var span = values.mutableSpan
          packing.unpack(part.span, into: &span)
          var packedSpan = packed.mutableSpan
          BitPacking.pack(values.span, bits: packing.bits, into: &packedSpan)
          unsafe UnsafeMutableRawBufferPointer(rebasing: target[row * rowBytes..<(row + 1) * rowBytes])
            .copyBytes(from: packed)
        }
      }
    }
    return try Tensor(elementType: .u8, shape: shape, region: region)
  }

  /// Zero points as bytes `[rows, groups]`.
  private func zeroPlane(_ version: GPTQVersion) throws(TensorCoreError) -> Tensor {
    let mask = UInt8(truncatingIfNeeded: 1 << packing.bits - 1)
    let rowBytes = zeros.shape.dimensions[1] * 4
    let (zeros, packing, rows, groups) = (zeros, packing, rows, groups)
    let region = unsafe MemoryRegion.deferred(byteCount: rows * groups) { target in
      var fields = [UInt8](repeating: 0, count: rows)
      unsafe zeros.withBytes { source in
        for group in 0..<groups {
          let part = unsafe Array(source[group * rowBytes..<(group + 1) * rowBytes])
          var span = fields.mutableSpan
          packing.unpack(part.span, into: &span)
          for row in 0..<rows {
            unsafe target[row * groups + group] = version == .v1 ? (fields[row] &+ 1) & mask : fields[row]
          }
        }
      }
    }
    return try Tensor(elementType: .u8, shape: Shape([rows, groups]), region: region)
  }
}
