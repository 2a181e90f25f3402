import OrderedCollections
import SafeIO
import TensorCore

/// The tensors of a model: one safetensors file, or the shards of a directory with their index.
public struct SafetensorsCheckpoint: Sendable {
  /// Name of the only file of a checkpoint that is not sharded.
  public static let singleFileName = "model.safetensors"
  /// Name of the index of a sharded checkpoint.
  public static let indexFileName = "model.safetensors.index.json"

  /// All tensors, file by file.
  public let tensors: OrderedDictionary<String, Tensor>
  /// Paths of the files that hold them.
  public let files: [String]
  /// Metadata of the first file.
  public let metadata: OrderedDictionary<String, String>
  /// Harmless oddities.
  public let warnings: [String]

  /// Opens a `.safetensors` file, the index of a sharded checkpoint, or a directory that holds either.
  /// - Throws: ``SafetensorsError``.
  public init(path: String, limits: Limits = .standard) throws(SafetensorsError) {
    if !FileReading.isDirectory(path) {
      if path.hasSuffix(".index.json") {
        self = try Self(
          index: FileReading.fileName(path), in: FileReading.directory(of: path), limits: limits)
      } else {
        self.init(try SafetensorsFile(path: path, limits: limits), warnings: [])
      }
      return
    }
    let names: [String]
    do throws(SafeIOError) { names = try FileReading.list(path) } catch { throw .io(error) }
    if names.contains(Self.singleFileName) {
      self.init(try Self.file(Self.singleFileName, in: path, limits), warnings: [])
    } else if names.contains(Self.indexFileName) {
      self = try Self(index: Self.indexFileName, in: path, limits: limits)
    } else {
      let candidates = names.filter { $0.hasSuffix(".safetensors") }
      guard candidates.count == 1, let name = candidates.first else {
        throw .noCheckpoint(directory: path, hint: Self.hint(names))
      }
      self.init(
        try Self.file(name, in: path, limits),
        warnings: ["\(name) was taken for lack of \(Self.singleFileName)"])
    }
  }

  private init(_ file: SafetensorsFile, warnings: [String]) {
    tensors = file.tensors
    files = [file.path]
    metadata = file.metadata
    self.warnings = warnings + file.warnings
  }

  private init(index name: String, in directory: String, limits: Limits) throws(SafetensorsError) {
    let index = try ShardIndex(name: name, directory: directory, limits: limits)
    let merged = try index.merge { (shard: String) throws(SafetensorsError) in
      try Self.file(shard, in: directory, limits)
    }
    tensors = merged.tensors
    files = merged.files.map(\.path)
    metadata = merged.files.first?.metadata ?? [:]
    warnings = merged.warnings
  }

  private static func file(
    _ name: String, in directory: String, _ limits: Limits
  ) throws(SafetensorsError) -> SafetensorsFile {
    let region: MemoryRegion
    do throws(SafeIOError) { region = try MappedFile.open(name: name, in: directory) } catch {
      throw .io(error)
    }
    return try SafetensorsFile(region: region, path: directory + "/" + name, limits: limits)
  }

  private static func hint(_ names: [String]) -> String? {
    if let name = names.first(where: { name in
      [".bin", ".pt", ".pth", ".ckpt"].contains { name.hasSuffix($0) }
    }) {
      return """
        \(name) looks like a PyTorch checkpoint: load it where you trust it and save it with \
        safetensors.torch.save_file
        """
    }
    if names.contains(where: { $0.hasSuffix(".safetensors") }) {
      return "several safetensors files and no \(indexFileName): name one of them"
    }
    return nil
  }
}
