import Codecs
import Execution
import GraphIR
import Kernels
import OrderedCollections
import PackedModel
import SafeIO
import TensorCore

/// The sections of a packed model and the table that says what they are.
struct PackedContents {
  let options: PackOptions
  private var parts: [PackedSectionInput] = []
  private var vectors: [JSONValue] = []
  private var matrices: [JSONValue] = []
  private var vectorBytes: [UInt8] = []
  private var inputs: OrderedDictionary<String, InputQuantization> = [:]

  init(options: PackOptions) { self.options = options }

  /// The table, for the file's metadata.
  var table: JSONValue { ["vectors": .array(vectors), "matrices": .array(matrices)] }

  /// What a reader must understand.
  var requiredFeatures: [String] {
    let encodings = Set(matrices.compactMap { $0["encoding"]?.stringValue })
    let features = PackOptions.panelFeatures.filter { encodings.contains($0.encoding.rawValue) }
    return [options.layout.feature] + features.map(\.feature)
  }

  /// Adds every constant of the graph in its order.
  mutating func add(
    graph: Graph, weights: OrderedDictionary<String, Weight>,
    activations: OrderedDictionary<String, InputQuantization>
  ) throws {
    func weight(_ name: String) throws -> Weight {
      guard let weight = weights[name] else {
        throw PipelineError.weight(name, reason: "is not in the checkpoint")
      }
      return weight
    }
    // zstd leaves less of plain panels of bf16 than of compact ones.
    let prepared = try PreparedWeights(
      graph: graph, weight: weight, matrices: options.layout == .panel16 ? .panels : .omitted,
      activations: activations, compacts: !options.compresses)
    inputs = prepared.activations
    for (key, values) in prepared.vectors { addVector(key, values) }
    if options.layout == .panel16 {
      for (key, matrix) in prepared.matrices { addPanels(key, matrix) }
    } else {
      for (key, names) in PreparedWeights.matrixOperands(of: graph) {
        try addPlanes(key, names.map { ($0, try weight($0)) })
      }
    }
  }

  private mutating func addVector(_ key: String, _ values: [Float]) {
    vectors.append([
      "name": .string(key), "offset": JSONValue(vectorBytes.count / 4), "count": JSONValue(values.count),
    ])
    for value in values {
      let bits = value.bitPattern
      for shift in stride(from: UInt32(0), to: 32, by: 8) {
        vectorBytes.append(UInt8(truncatingIfNeeded: bits >> shift))
      }
    }
  }

  private mutating func addPanels(_ key: String, _ matrix: PanelMatrix) {
    let section = "panels/" + key
    addEntry(
      key,
      [
        "name": .string(key), "section": .string(section), "encoding": .string(matrix.encoding.rawValue),
        "rows": JSONValue(matrix.rows), "columns": JSONValue(matrix.columns),
        "block_length": JSONValue(matrix.blockLength), "has_zeros": .bool(matrix.hasZeros),
      ])
    parts.append(packedSection(section, kind: "panels", matrix.storage, isBFloat16: matrix.encoding == .bf16))
  }

  private mutating func addPlanes(_ key: String, _ weights: [(String, Weight)]) throws {
    var members: [JSONValue] = []
    for (name, weight) in weights {
      let planes: OrderedDictionary<String, Tensor>
      switch weight {
      case .dense(let tensor): planes = ["values": tensor]
      case .encoded(let matrix): planes = matrix.planes
      }
      var described: [JSONValue] = []
      for (plane, tensor) in planes {
        let section = "planes/\(name)/\(plane)"
        if !parts.contains(where: { $0.name == section }) {
          parts.append(packedSection(section, kind: "plane", tensor, isBFloat16: tensor.elementType == .bf16))
        }
        described.append([
          "name": .string(plane), "section": .string(section),
          "element_type": .string(tensor.elementType.rawValue),
          "shape": .array(tensor.shape.dimensions.map { JSONValue($0) }),
        ])
      }
      members.append([
        "name": .string(name), "encoding": .string(weight.encodingName), "rows": JSONValue(weight.shape.rows),
        "columns": JSONValue(weight.shape.columns), "planes": .array(described),
      ])
    }
    addEntry(key, ["name": .string(key), "members": .array(members)])
  }

  /// Adds a matrix, and how its input is quantized.
  private mutating func addEntry(_ key: String, _ entry: JSONObject) {
    var entry = entry
    if let input = inputs[key] { entry["input"] = input.json }
    matrices.append(.object(entry))
  }

  private func packedSection(_ name: String, kind: String, _ tensor: Tensor, isBFloat16: Bool)
    -> PackedSectionInput
  {
    PackedSectionInput(
      name: name, kind: kind, content: [PackedBytes(tensor)], compression: options.compresses ? .zstd : .none,
      transform: options.compresses && isBFloat16 ? .bf16Planes : .none)
  }

  /// All sections, the small ones that a reader needs first at the front.
  func sections(graph: Graph, tokenizer: TokenizerSource?) -> [PackedSectionInput] {
    var result = [PackedSectionInput(name: "graph", kind: "graph", bytes: Array(graph.printed().utf8))]
    if let tokenizer {
      result.append(PackedSectionInput(name: "tokenizer", kind: "tokenizer", bytes: tokenizer.bytes))
    }
    result.append(PackedSectionInput(name: "vectors", kind: "vectors", bytes: vectorBytes))
    return result + parts
  }
}
