import OrderedCollections
import SafeIO
import TensorCore

/// Writes GGUF files: deterministic, atomic, one tensor (or piece of one) in memory at a time.
///
/// Metadata and tensors lie in the order given. What ``GGUFFile`` read is written back byte for byte.
public enum GGUFWriter {
  /// Version that is written unless another one is asked for.
  public static let currentVersion: UInt32 = 3

  /// Writes one file.
  ///
  /// - Parameters:
  ///   - metadata: entries; `general.alignment`, when there, decides the alignment.
  ///   - tensors: tensors by name.
  ///   - version: 2 or 3, which differ in the number only.
  ///   - path: the file, which appears whole or not at all.
  /// - Throws: ``GGUFError``, `SafeIOError`, and what the sources throw; then `path` is as it was.
  public static func write(
    metadata: OrderedDictionary<String, GGUFValue>,
    tensors: OrderedDictionary<String, GGUFTensorSource>, version: UInt32 = currentVersion, to path: String
  ) throws {
    precondition((2...3).contains(version), "versions 2 and 3 are written")
    let layout = try GGUFLayout(metadata: metadata, tensors: tensors, file: path)
    let header = layout.header(version: version)
    try AtomicFile.write(to: path, byteCount: header.count + layout.dataByteCount) { writer in
      try layout.write(header: header, file: path, to: &writer)
    }
  }
}

/// A checked plan of a file: what its header says and where its data lie.
struct GGUFLayout {
  let metadata: OrderedDictionary<String, GGUFValue>
  let tensors: OrderedDictionary<String, GGUFTensorSource>
  let alignment: Int
  /// Bytes of all tensors with their padding.
  let dataByteCount: Int
  /// Where each tensor lies behind the header.
  let offsets: [Int]

  /// Bytes of each tensor with its padding.
  var paddedByteCounts: [Int] { zip(offsets, offsets.dropFirst() + [dataByteCount]).map { $1 - $0 } }

  init(
    metadata: OrderedDictionary<String, GGUFValue>, tensors: OrderedDictionary<String, GGUFTensorSource>,
    file: String
  ) throws {
    self.metadata = metadata
    self.tensors = tensors
    alignment = try Self.alignment(metadata, file: file)
    for key in metadata.keys where !(1...GGUFHeaderReader.maximumKeyByteCount).contains(key.utf8.count) {
      throw GGUFError.source(
        file: file, name: key, expected: "a key of 1 to 65535 bytes", found: "\(key.utf8.count)")
    }
    var offsets: [Int] = []
    var position = 0
    for (name, source) in tensors {
      try Self.check(name, source, file: file)
      offsets.append(position)
      let end = try Checked.sum(position, source.type.byteCount(source.shape))
      position = try Checked.product(Checked.ceilingQuotient(end, alignment), alignment)
    }
    self.offsets = offsets
    dataByteCount = position
  }

  private static func alignment(
    _ metadata: OrderedDictionary<String, GGUFValue>, file: String
  ) throws(GGUFError) -> Int {
    guard let value = metadata["general.alignment"] else { return GGUFHeaderReader.defaultAlignment }
    guard case .uint32(let number) = value, let alignment = GGUFHeaderReader.alignment(number) else {
      throw .source(
        file: file, name: "general.alignment", expected: "a power of two of type u32", found: "\(value)")
    }
    return alignment
  }

  private static func check(_ name: String, _ source: GGUFTensorSource, file: String) throws(GGUFError) {
    guard (1...GGUFHeaderReader.maximumNameByteCount).contains(name.utf8.count) else {
      throw .source(
        file: file, name: name, expected: "a name of 1 to 63 bytes", found: "\(name.utf8.count)")
    }
    guard source.shape.rank <= GGUFHeaderReader.maximumRank, source.shape.dimensions.allSatisfy({ $0 > 0 })
    else {
      throw .source(
        file: file, name: name, expected: "up to 4 positive dimensions", found: "\(source.shape)")
    }
  }

  /// Writes header and tensors.
  func write(header: [UInt8], file: String, to writer: inout FileWriter) throws {
    try writer.write(header)
    for (name, source) in tensors {
      try write(source, name: name, file: file, to: &writer)
      try writer.pad(toMultipleOf: alignment)
    }
  }

  private func write(
    _ source: GGUFTensorSource, name: String, file: String, to writer: inout FileWriter
  ) throws {
    let expected = try source.type.byteCount(source.shape)
    let found = try writer.writeRange(byteCount: expected) { range in
      try source.produce(GGUFTensorPlace(file: file, name: name, range: range))
    }
    guard found == expected else {
      throw GGUFError.source(file: file, name: name, expected: "\(expected) bytes", found: "\(found)")
    }
  }
}
