import OrderedCollections
import SafeIO
import TensorCore

/// Names and keys of a model that lies in several files.
///
/// Part `i` of `n` is called `NAME-0000i-of-0000n.gguf`. Each part says its number from 0 (`split.no`), their count
/// (`split.count`) and the number of tensors of all parts (`split.tensors.count`); all other metadata are in the first.
public enum GGUFSplit {
  static let numberKey = "split.no"
  static let countKey = "split.count"
  static let tensorCountKey = "split.tensors.count"
  /// Keys that belong to a part and not to the model.
  static let keys: Set<String> = [numberKey, countKey, tensorCountKey]
  /// Most parts that a name of five digits can count.
  static let maximumCount = 99_999

  /// Path of part `index` (from 0) of `count`.
  public static func path(_ stem: String, index: Int, count: Int) -> String {
    "\(stem)-\(PartLimit.label(index, of: count)).gguf"
  }

  /// Reads a path of the form that ``path(_:index:count:)`` makes; nil for any other.
  public static func parse(_ path: String) -> (stem: String, index: Int, count: Int)? {
    let pattern = /^(.*)-([0-9]{5})-of-([0-9]{5})\.gguf$/.dotMatchesNewlines()
    guard let match = path.wholeMatch(of: pattern), let number = Int(match.output.2),
      let count = Int(match.output.3), (1...max(count, 1)).contains(number), count > 0
    else { return nil }
    return (String(match.output.1), number - 1, count)
  }
}

extension GGUFWriter {
  /// The files that ``writeSplit(metadata:tensors:to:limit:)`` would write.
  /// - Throws: ``GGUFError`` for what files cannot hold, and for too many parts.
  public static func files(
    metadata: OrderedDictionary<String, GGUFValue>,
    tensors: OrderedDictionary<String, GGUFTensorSource>, to path: String, limit: PartLimit
  ) throws -> [PlannedFile] {
    try layouts(metadata: metadata, tensors: tensors, to: path, limit: limit).map { path, layout in
      PlannedFile(
        path: path, tensorCount: layout.tensors.count, tensorByteCount: layout.dataByteCount)
    }
  }

  /// Writes a model as one file when its tensors fit `limit`, else as parts beside `path`.
  ///
  /// No part has its name before all are whole, and the first part, without which nothing reads the model, gets it last.
  /// - Parameters:
  ///   - path: the file; `NAME.gguf` gives parts called `NAME-00001-of-0000N.gguf`.
  ///   - pending: where given, files get their names at once and are synced by it.
  /// - Returns: the paths of the files.
  /// - Throws: as ``write(metadata:tensors:version:to:)``.
  @discardableResult
  public static func writeSplit(
    metadata: OrderedDictionary<String, GGUFValue>,
    tensors: OrderedDictionary<String, GGUFTensorSource>, to path: String, limit: PartLimit,
    pending: PendingSync? = nil
  ) throws -> [String] {
    let files = try layouts(metadata: metadata, tensors: tensors, to: path, limit: limit)
    let headers = files.map { $0.layout.header(version: currentVersion) }
    let byteCounts = zip(headers, files).map { $0.count + $1.layout.dataByteCount }
    try AtomicFile.write(to: files.map(\.path), byteCounts: byteCounts, pending: pending) {
      try files[$0].layout.write(header: headers[$0], file: files[$0].path, to: &$1)
    }
    return files.map(\.path)
  }

  private static func layouts(
    metadata: OrderedDictionary<String, GGUFValue>,
    tensors: OrderedDictionary<String, GGUFTensorSource>, to path: String, limit: PartLimit
  ) throws -> [(path: String, layout: GGUFLayout)] {
    let whole = try GGUFLayout(metadata: metadata, tensors: tensors, file: path)
    let parts = limit.parts(of: whole.paddedByteCounts)
    guard parts.count > 1 else { return [(path, whole)] }
    guard parts.count <= AtomicFile.maximumGroupCount else {
      throw GGUFError.split(
        file: path, problem: "too many parts, which are all open at a time",
        expected: "at most \(AtomicFile.maximumGroupCount)", found: "\(parts.count)")
    }
    let stem = path.hasSuffix(".gguf") ? String(path.dropLast(5)) : path
    return try parts.enumerated().map { index, range in
      var entries = index == 0 ? metadata : metadata.filter { $0.key == "general.alignment" }
      entries[GGUFSplit.numberKey] = .uint16(UInt16(clamping: index))
      entries[GGUFSplit.countKey] = .uint16(UInt16(clamping: parts.count))
      entries[GGUFSplit.tensorCountKey] = .int32(Int32(clamping: tensors.count))
      let path = GGUFSplit.path(stem, index: index, count: parts.count)
      let part = OrderedDictionary(uniqueKeysWithValues: zip(tensors.keys[range], tensors.values[range]))
      return (path, try GGUFLayout(metadata: entries, tensors: part, file: path))
    }
  }
}
