import OrderedCollections
import SafeIO
import TensorCore

/// A model in one GGUF file, or in the parts of a split one, taken as a whole.
public struct GGUFCheckpoint: Sendable {
  /// The file that was named.
  public let path: String
  /// The parts in their order; one file when it is not split.
  public let files: [GGUFFile]
  /// Metadata of the model: those of the first part, without the keys that count parts.
  public let metadata: OrderedDictionary<String, GGUFValue>
  /// Tensors of all parts by name, part by part; offsets are those in the tensor's own part.
  public let tensors: OrderedDictionary<String, GGUFTensor>
  /// Harmless oddities.
  public let warnings: [String]
  private let fileOfTensor: [String: Int]

  /// Opens a file, and when it is a part of a split model, all other parts beside it.
  /// - Throws: ``GGUFError``.
  public init(path: String, limits: Limits = .standard) throws(GGUFError) {
    let named = try GGUFFile(path: path, limits: limits)
    self.path = path
    guard let count = named.metadata[GGUFSplit.countKey]?.intValue, count != 1 else {
      files = [named]
      metadata = named.metadata.filter { !GGUFSplit.keys.contains($0.key) }
      tensors = named.tensors
      warnings = named.warnings
      fileOfTensor = [:]
      return
    }
    let files = try Self.parts(of: named, count: count, limits: limits)
    (tensors, fileOfTensor) = try Self.join(files)
    try Self.checkTotal(files, tensors.count)
    self.files = files
    metadata = files[0].metadata.filter { !GGUFSplit.keys.contains($0.key) }
    warnings = files.flatMap(\.warnings)
  }

  private static func parts(
    of named: GGUFFile, count: Int, limits: Limits
  ) throws(GGUFError) -> [GGUFFile] {
    guard (2...GGUFSplit.maximumCount).contains(count) else {
      throw .split(
        file: named.path, problem: "an impossible \(GGUFSplit.countKey)", expected: "1 to 99999",
        found: "\(count)")
    }
    guard let place = GGUFSplit.parse(named.path), place.count == count else {
      throw .split(
        file: named.path,
        problem: "a part of a split model must keep its name, by which the others are found",
        expected: FileReading.fileName(GGUFSplit.path("NAME", index: 0, count: count)),
        found: FileReading.fileName(named.path))
    }
    var files: [GGUFFile] = []
    for index in 0..<count {
      let path = GGUFSplit.path(place.stem, index: index, count: count)
      let file = index == place.index ? named : try GGUFFile(path: path, limits: limits)
      try check(file, index: index, first: files.first ?? file)
      files.append(file)
    }
    return files
  }

  /// Refuses a part of another model, or one under another's name.
  private static func check(_ file: GGUFFile, index: Int, first: GGUFFile) throws(GGUFError) {
    func requireSame(_ key: String, _ expected: Int?) throws(GGUFError) {
      let found = file.metadata[key]?.intValue
      guard found == expected else {
        throw .split(
          file: file.path, problem: "\(key) is not what the other parts need",
          expected: expected.map(String.init) ?? "none", found: found.map(String.init) ?? "none")
      }
    }
    try requireSame(GGUFSplit.numberKey, index)
    try requireSame(GGUFSplit.countKey, first.metadata[GGUFSplit.countKey]?.intValue)
    try requireSame(
      GGUFSplit.tensorCountKey, first.metadata[GGUFSplit.tensorCountKey]?.intValue)
    for key in ["general.architecture", "general.name"] {
      guard let found = file.metadata[key], found != first.metadata[key] else { continue }
      throw .split(
        file: file.path, problem: "\(key) differs from the first part's",
        expected: first.metadata[key]?.stringValue ?? "none", found: found.stringValue ?? "another type")
    }
  }

  private static func join(
    _ files: [GGUFFile]
  ) throws(GGUFError) -> (OrderedDictionary<String, GGUFTensor>, [String: Int]) {
    var tensors: OrderedDictionary<String, GGUFTensor> = [:]
    var places: [String: Int] = [:]
    for (index, file) in files.enumerated() {
      for (name, tensor) in file.tensors {
        guard tensors.updateValue(tensor, forKey: name) == nil else {
          throw .split(
            file: file.path, problem: "tensor '\(name)' is in an earlier part too", expected: nil, found: nil)
        }
        places[name] = index
      }
    }
    return (tensors, places)
  }

  private static func checkTotal(_ files: [GGUFFile], _ found: Int) throws(GGUFError) {
    guard let expected = files[0].metadata[GGUFSplit.tensorCountKey]?.intValue, expected != found else {
      return
    }
    throw .split(
      file: files[0].path, problem: "the parts do not hold as many tensors as \(GGUFSplit.tensorCountKey)",
      expected: "\(expected)", found: "\(found)")
  }

  private func file(of name: String) -> GGUFFile { files[fileOfTensor[name] ?? 0] }

  /// A tensor of a plain type as a view of its file; see ``GGUFFile/tensor(named:)``.
  /// - Throws: ``GGUFError``.
  public func tensor(named name: String) throws(GGUFError) -> Tensor {
    try file(of: name).tensor(named: name)
  }

  /// The stored bytes of a tensor; see ``GGUFFile/bytes(of:)``.
  /// - Throws: ``GGUFError/noTensor(file:name:)``.
  public func bytes(of name: String) throws(GGUFError) -> Tensor { try file(of: name).bytes(of: name) }

  /// A tensor as a source that ``GGUFWriter`` copies.
  /// - Throws: ``GGUFError/noTensor(file:name:)``.
  public func source(of name: String) throws(GGUFError) -> GGUFTensorSource {
    let bytes = try bytes(of: name)
    guard let entry = tensors[name] else { throw .noTensor(file: path, name: name) }
    return GGUFTensorSource(type: entry.type, shape: entry.shape) { bytes }
  }
}
