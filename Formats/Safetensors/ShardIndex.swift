import OrderedCollections
import SafeIO
import TensorCore

/// The index of a sharded checkpoint: which file holds which tensor.
struct ShardIndex {
  private let path: String
  /// Shard of each tensor, in the order of the index.
  private let shards: OrderedDictionary<String, String>
  private let totalSize: Int?

  init(name: String, directory: String, limits: Limits) throws(SafetensorsError) {
    path = directory + "/" + name
    let value: JSONValue
    do throws(SafeIOError) {
      let region = try MappedFile.open(name: name, in: directory, limit: limits.maxDocumentBytes)
      value = try JSONValue.parse(region, file: path, limits: limits)
    } catch { throw .io(error) }
    guard let map = value["weight_map"]?.objectValue else {
      throw .index(file: path, problems: ["there is no weight_map"], count: 1)
    }
    var shards = OrderedDictionary<String, String>(minimumCapacity: map.count)
    for (tensor, shard) in map {
      guard let shard = shard.stringValue else {
        throw .index(
          file: path, problems: ["the shard of '\(Diagnostic.escaped(tensor))' is no string"], count: 1)
      }
      shards[tensor] = shard
    }
    self.shards = shards
    totalSize = value["metadata"]?["total_size"]?.doubleValue.flatMap { Int(exactly: $0) }
  }

  /// Opens each shard once and joins the tensors.
  /// - Throws: ``SafetensorsError/index(file:problems:count:)`` with all that disagrees.
  func merge(
    open: (String) throws(SafetensorsError) -> SafetensorsFile
  ) throws(SafetensorsError) -> (
    tensors: OrderedDictionary<String, Tensor>, files: [SafetensorsFile], warnings: [String]
  ) {
    var tensors = OrderedDictionary<String, Tensor>(minimumCapacity: shards.count)
    var files: [SafetensorsFile] = []
    var problems: [String] = []
    var warnings: [String] = []
    var unlisted = 0
    for shard in OrderedSet(shards.values).sorted(by: { ExactString($0) < ExactString($1) }) {
      let file: SafetensorsFile
      do throws(SafetensorsError) {
        file = try open(shard)
      } catch .io(.missing) {
        problems.append("shard '\(Diagnostic.escaped(shard))' is missing")
        continue
      }
      files.append(file)
      warnings += file.warnings.map { "\(Diagnostic.escaped(shard)): \($0)" }
      for (name, tensor) in file.tensors {
        guard let listed = shards[name] else {
          unlisted += 1
          continue
        }
        if listed == shard {
          tensors[name] = tensor
        } else {
          problems.append(
            "'\(Diagnostic.escaped(name))' is in '\(Diagnostic.escaped(shard))' and listed for "
              + "'\(Diagnostic.escaped(listed))'")
        }
      }
    }
    try check(tensors, problems, opened: Set(files.map { FileReading.fileName($0.path) }))
    if unlisted > 0 {
      warnings.append("\(unlisted) tensors of the shards are not in the index and were left out")
    }
    return (tensors, files, warnings)
  }

  private func check(
    _ tensors: OrderedDictionary<String, Tensor>, _ problems: [String], opened: Set<String>
  ) throws(SafetensorsError) {
    var problems = problems
    for (name, shard) in shards where tensors[name] == nil && opened.contains(shard) {
      problems.append("'\(Diagnostic.escaped(name))' is not in '\(Diagnostic.escaped(shard))'")
    }
    if problems.isEmpty, let totalSize {
      let sum = tensors.values.reduce(0) { $0 + $1.byteCount }
      if sum != totalSize { problems.append("total_size is \(totalSize) and the tensors have \(sum) bytes") }
    }
    guard problems.isEmpty else {
      throw .index(file: path, problems: Array(problems.prefix(20)), count: problems.count)
    }
  }
}
