import OrderedCollections
import SafeIO
import TensorCore

/// A tensor that is to be written, made when its turn comes.
public struct TensorSource: Sendable {
  /// Type of the elements.
  public let elementType: ElementType
  /// Dimensions, outermost first.
  public let shape: Shape
  /// Makes the tensor, which must have the type and shape announced.
  public let load: @Sendable () throws -> Tensor

  /// Announces a tensor that `load` makes.
  public init(elementType: ElementType, shape: Shape, load: @escaping @Sendable () throws -> Tensor) {
    self.elementType = elementType
    self.shape = shape
    self.load = load
  }

  /// A tensor that is there.
  public init(_ tensor: Tensor) {
    self.init(elementType: tensor.elementType, shape: tensor.shape) { tensor }
  }
}

/// Writes safetensors files: deterministic, atomic, one tensor in memory at a time.
///
/// Tensors lie in descending order of the size of their type, then by name; the header is padded with spaces so that the
/// data begin at a multiple of 8. With one metadata entry the bytes are those that the reference implementation writes.
public enum SafetensorsWriter {
  /// Metadata that loaders of PyTorch models expect.
  public static let pyTorchMetadata: OrderedDictionary<String, String> = ["format": "pt"]

  /// Writes tensors to one file.
  /// - Throws: ``SafetensorsError`` or `SafeIOError`; then `path` is as it was.
  public static func write(
    _ tensors: OrderedDictionary<String, Tensor>,
    metadata: OrderedDictionary<String, String> = pyTorchMetadata, to path: String
  ) throws {
    try write(sources: tensors.mapValues { TensorSource($0) }, metadata: metadata, to: path)
  }

  /// Writes tensors, each made when its turn comes, to one file.
  /// - Throws: ``SafetensorsError`` or `SafeIOError`, and what the sources throw; then `path` is as it was.
  public static func write(
    sources: OrderedDictionary<String, TensorSource>,
    metadata: OrderedDictionary<String, String> = pyTorchMetadata, to path: String
  ) throws {
    let layout = try Layout(sources, metadata: metadata)
    try AtomicFile.write(to: path, byteCount: layout.header.count + layout.dataByteCount) { writer in
      try writer.write(layout.header)
      for (name, source) in layout.ordered {
        let tensor = try source.load()
        guard tensor.elementType == source.elementType, tensor.shape == source.shape else {
          throw SafetensorsError.source(
            name: name, expected: "\(source.elementType.name) \(source.shape)",
            found: "\(tensor.elementType.name) \(tensor.shape)")
        }
        try writer.write(tensor)
      }
    }
  }

  /// Writes a checkpoint into an existing directory: one `model.safetensors` when the tensors fit `maxShardBytes`, else
  /// numbered shards and, last, their index.
  ///
  /// For a directory that appears whole or not at all, call this within `AtomicDirectory.write`.
  /// - Returns: the names of the files, the index last.
  /// - Throws: as ``write(sources:metadata:to:)``.
  @discardableResult
  public static func writeCheckpoint(
    sources: OrderedDictionary<String, TensorSource>,
    metadata: OrderedDictionary<String, String> = pyTorchMetadata,
    to directory: String, maxShardBytes: Int = 5_000_000_000
  ) throws -> [String] {
    let sizes = try sources.values.map { try $0.elementType.byteCount(elements: $0.shape.elementCount) }
    let shards = PartLimit(byteCount: maxShardBytes).parts(of: sizes)
    guard shards.count > 1 else {
      let name = SafetensorsCheckpoint.singleFileName
      try write(sources: sources, metadata: metadata, to: directory + "/" + name)
      return [name]
    }
    var names: [String] = []
    var map = JSONObject()
    for (index, shard) in shards.enumerated() {
      let name = "model-\(PartLimit.label(index, of: shards.count)).safetensors"
      let part = OrderedDictionary(uniqueKeysWithValues: zip(sources.keys[shard], sources.values[shard]))
      try write(sources: part, metadata: metadata, to: directory + "/" + name)
      names.append(name)
      for tensor in part.keys { map[tensor] = .string(name) }
    }
    let sortedMap = JSONObject(
      map.sorted { ExactString($0.key) < ExactString($1.key) }.map { ($0.key, $0.value) })
    let index: JSONValue = [
      "metadata": ["total_size": JSONValue(sizes.reduce(0, +))], "weight_map": .object(sortedMap),
    ]
    let text = index.serialized(pretty: true) + "\n"
    try AtomicFile.write(Array(text.utf8), to: directory + "/" + SafetensorsCheckpoint.indexFileName)
    return names + [SafetensorsCheckpoint.indexFileName]
  }

  /// Writes a checkpoint of tensors that are there; see ``writeCheckpoint(sources:metadata:to:maxShardBytes:)``.
  /// - Throws: as ``write(sources:metadata:to:)``.
  @discardableResult
  public static func writeCheckpoint(
    _ tensors: OrderedDictionary<String, Tensor>,
    metadata: OrderedDictionary<String, String> = pyTorchMetadata,
    to directory: String, maxShardBytes: Int = 5_000_000_000
  ) throws -> [String] {
    try writeCheckpoint(
      sources: tensors.mapValues { TensorSource($0) }, metadata: metadata, to: directory,
      maxShardBytes: maxShardBytes)
  }
}

/// Order of the tensors in a file and the header that says so.
private struct Layout {
  let ordered: [(String, TensorSource)]
  let header: [UInt8]
  let dataByteCount: Int

  // The order of types in the reference implementation; the largest comes first in a file.
  private static let rank: [ElementType: Int] = {
    let order: [ElementType] = [
      .bool, .f4, .f6e2m3, .f6e3m2, .u8, .i8, .f8e5m2, .f8e4m3, .f8e8m0, .i16, .u16, .f16, .bf16, .i32, .u32,
      .f32,
      .c64, .f64, .i64, .u64,
    ]
    return Dictionary(uniqueKeysWithValues: order.enumerated().map { ($1, $0) })
  }()

  init(
    _ sources: OrderedDictionary<String, TensorSource>, metadata: OrderedDictionary<String, String>
  ) throws {
    ordered = sources.map { ($0.key, $0.value) }.sorted { first, second in
      let ranks = (Self.rank[first.1.elementType] ?? 0, Self.rank[second.1.elementType] ?? 0)
      return ranks.0 == ranks.1 ? ExactString(first.0) < ExactString(second.0) : ranks.0 > ranks.1
    }
    var text = "{"
    if !metadata.isEmpty {
      let members = metadata.map { "\(JSONValue.quoted($0.key)):\(JSONValue.quoted($0.value))" }
      text += "\"__metadata__\":{" + members.joined(separator: ",") + "}"
    }
    var position = 0
    for (name, source) in ordered {
      guard name != "__metadata__" else {
        throw SafetensorsError.source(name: name, expected: "another name", found: "the name of the metadata")
      }
      let end = try Checked.sum(position, source.elementType.byteCount(elements: source.shape.elementCount))
      if text.utf8.count > 1 { text += "," }
      let dimensions = source.shape.dimensions.map(String.init).joined(separator: ",")
      text += "\(JSONValue.quoted(name)):{\"dtype\":\"\(source.elementType.rawValue)\","
      text += "\"shape\":[\(dimensions)],\"data_offsets\":[\(position),\(end)]}"
      position = end
    }
    text += "}"
    text += String(repeating: " ", count: (8 - text.utf8.count % 8) % 8)
    let length = UInt64(text.utf8.count)
    header = (0..<8).map { UInt8(truncatingIfNeeded: length >> ($0 * 8)) } + Array(text.utf8)
    dataByteCount = position
  }
}
