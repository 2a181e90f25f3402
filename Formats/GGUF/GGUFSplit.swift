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
    "\(stem)-\(fiveDigits(index + 1))-of-\(fiveDigits(count)).gguf"
  }

  /// Reads a path of the form that ``path(_:index:count:)`` makes; nil for any other.
  public static func parse(_ path: String) -> (stem: String, index: Int, count: Int)? {
    let pattern = /^(.*)-([0-9]{5})-of-([0-9]{5})\.gguf$/.dotMatchesNewlines()
    guard let match = path.wholeMatch(of: pattern), let number = Int(match.output.2),
      let count = Int(match.output.3), (1...max(count, 1)).contains(number), count > 0
    else { return nil }
    return (String(match.output.1), number - 1, count)
  }

  private static func fiveDigits(_ number: Int) -> String {
    let digits = String(number)
    return String(repeating: "0", count: max(5 - digits.count, 0)) + digits
  }
}

extension GGUFWriter {
  /// Writes a model as one file when its tensors fit `maxShardBytes`, else as parts beside `path`.
  ///
  /// The first part, without which nothing reads the model, comes last, so that a failure leaves no readable half; parts
  /// that were written before it are taken away then.
  /// - Parameter path: the file; `NAME.gguf` gives parts called `NAME-00001-of-0000N.gguf`.
  /// - Returns: the paths of the files.
  /// - Throws: as ``write(metadata:tensors:version:to:)``.
  @discardableResult
  public static func writeSplit(
    metadata: OrderedDictionary<String, GGUFValue>,
    tensors: OrderedDictionary<String, GGUFTensorSource>, to path: String, maxShardBytes: Int
  ) throws -> [String] {
    let parts = try partition(tensors, maxShardBytes: maxShardBytes)
    guard parts.count > 1 else {
      try write(metadata: metadata, tensors: tensors, to: path)
      return [path]
    }
    guard parts.count <= GGUFSplit.maximumCount else {
      throw GGUFError.split(
        file: path, problem: "too many parts", expected: "at most \(GGUFSplit.maximumCount)",
        found: "\(parts.count)")
    }
    let stem = path.hasSuffix(".gguf") ? String(path.dropLast(5)) : path
    let paths = parts.indices.map { GGUFSplit.path(stem, index: $0, count: parts.count) }
    var written: [String] = []
    do {
      for index in parts.indices.reversed() {
        var entries = index == 0 ? metadata : metadata.filter { $0.key == "general.alignment" }
        entries[GGUFSplit.numberKey] = .uint16(UInt16(clamping: index))
        entries[GGUFSplit.countKey] = .uint16(UInt16(clamping: parts.count))
        entries[GGUFSplit.tensorCountKey] = .int32(Int32(clamping: tensors.count))
        try write(metadata: entries, tensors: parts[index], to: paths[index])
        written.append(paths[index])
      }
    } catch {
      for path in written { AtomicFile.remove(path) }
      throw error
    }
    return paths
  }

  /// Fills parts in the given order; a tensor larger than a part gets one of its own.
  private static func partition(
    _ tensors: OrderedDictionary<String, GGUFTensorSource>, maxShardBytes: Int
  ) throws -> [OrderedDictionary<String, GGUFTensorSource>] {
    var parts: [OrderedDictionary<String, GGUFTensorSource>] = []
    var current: OrderedDictionary<String, GGUFTensorSource> = [:]
    var byteCount = 0
    for (name, source) in tensors {
      let size = try source.type.byteCount(source.shape)
      if !current.isEmpty && size > maxShardBytes - byteCount {
        parts.append(current)
        current = [:]
        byteCount = 0
      }
      current[name] = source
      byteCount += size
    }
    parts.append(current)
    return parts
  }
}
