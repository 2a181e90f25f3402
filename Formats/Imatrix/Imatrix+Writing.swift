import GGUF
import OrderedCollections
import SafeIO
import TensorCore

extension Imatrix {
  /// Writes a file, whole or not at all; the same values give the same bytes.
  /// - Throws: ``ImatrixError``, `GGUFError`, `SafeIOError`.
  public func write(to path: String, form: Form) throws {
    let sorted = entries.sorted { ExactString($0.key) < ExactString($1.key) }
    switch form {
    case .gguf: try writeGGUF(sorted.map { ($0.key, $0.value) }, to: path)
    case .legacy: try writeLegacy(sorted.map { ($0.key, $0.value) }, to: path)
    }
  }

  /// Windows have to have a length; calls of the legacy form become windows of this one, as that of the tools' default.
  private static let customaryChunkSize = 512

  private func writeGGUF(_ sorted: [(String, Entry)], to path: String) throws {
    var tensors: OrderedDictionary<String, GGUFTensorSource> = [:]
    for (name, entry) in sorted {
      let (columns, matrices) = (entry.columnCount, entry.counts.count)
      // One matrix has no dimension for it, as the tools have it.
      let sums = try Shape(matrices == 1 ? [columns] : [matrices, columns])
      let counts = try Shape(matrices == 1 ? [1] : [matrices, 1])
      tensors[name + Self.sumSuffix] = try GGUFTensorSource(Tensor(entry.squareSums, shape: sums))
      tensors[name + Self.countSuffix] = try GGUFTensorSource(Tensor(entry.counts, shape: counts))
    }
    try GGUFWriter.write(
      metadata: [
        Self.typeKey: .string(Self.typeName), Self.datasetsKey: .array(.string(GGUFStrings(datasets))),
        Self.chunkCountKey: .uint32(UInt32(clamping: chunkCount)),
        Self.chunkSizeKey: .uint32(UInt32(clamping: chunkSize ?? Self.customaryChunkSize)),
      ], tensors: tensors, to: path)
  }

  private func writeLegacy(_ sorted: [(String, Entry)], to path: String) throws {
    let seen = sorted.filter { $0.1.counts.contains { $0 > 0 } }
    guard !seen.isEmpty else {
      throw ImatrixError.entry(file: path, name: "entries", problem: "there is nothing to write", found: nil)
    }
    try AtomicFile.write(to: path) { writer in
      try writer.writeLittleEndian(Int32(clamping: seen.count))
      for (name, entry) in seen {
        try writer.writeLittleEndian(Int32(clamping: name.utf8.count))
        try writer.write(name)
        let calls = calls(of: entry)
        try writer.writeLittleEndian(calls)
        try writer.writeLittleEndian(Int32(clamping: entry.squareSums.count))
        for value in legacyValues(of: entry, calls: calls) { try writer.writeLittleEndian(value.bitPattern) }
      }
      try writer.writeLittleEndian(Int32(clamping: chunkCount))
      let dataset = datasets.last ?? ""
      try writer.writeLittleEndian(Int32(clamping: dataset.utf8.count))
      try writer.write(dataset)
    }
  }

  /// Rows in windows, rounded up so that there is at least one.
  private func calls(of entry: Entry) -> Int32 {
    // Far above every count, and far below what could overflow.
    let most = Int(min(entry.counts.max() ?? 0, 1e15))
    guard let chunkSize, chunkSize > 0 else { return Int32(clamping: most) }
    return Int32(clamping: Checked.ceilingQuotient(most, chunkSize))
  }

  /// Mean squares times calls; what is calls already stays to the bit.
  private func legacyValues(of entry: Entry, calls: Int32) -> [Float] {
    if chunkSize == nil { return entry.squareSums }
    return entry.importance.map { $0 * Float(calls) }
  }
}
