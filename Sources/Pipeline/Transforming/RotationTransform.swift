import Architectures
import Codecs
import GraphIR
import GraphPasses
import Kernels
import OrderedCollections
import Quantization
import SafeIO
import TensorCore

/// Multiplies the residual stream and the values of attention with Hadamard matrices, which what writes and reads them takes over, and
/// what no weight can take over (inputs of down projections, of output projections whose values stay) when the model runs:
/// the float model computes the same, and no column of an input or a weight stands out any more.
struct RotationTransform {
  static let name = "rotation"

  /// Where something is turned.
  private enum Scope: String, CaseIterable {
    case auto, always, never
  }

  private let residual: Scope
  private let values: Scope
  private let inputs: Scope
  private let seed: Int
  /// Weights whose inputs are rounded to integers.
  private let rounded: Set<String>
  private let model: LoadedModel
  private let quantized: Set<String>
  private let pool: ThreadPool
  private var edited: EditedWeights
  private var report = TransformReport(name: RotationTransform.name)
  /// Weights that read turned values.
  private var valueReaders: Set<String> = []

  /// Its options, as recipes name them.
  static let options = [
    MethodOption(
      name: "residual", defaultValue: "auto", summary: "turn the residual stream: auto, always or never"),
    MethodOption(
      name: "values", defaultValue: "auto",
      summary: "turn the heads of values before the output projection: auto, always or never"),
    MethodOption(
      name: "inputs", defaultValue: "auto",
      summary: "turn inputs of down and output projections when the model runs: auto (those that are rounded "
        + "to integers), always or never"),
    MethodOption(name: "seed", defaultValue: "0", summary: "seed of the signs"),
  ]

  /// Reads options.
  /// - Parameters:
  ///   - quantized: weights that will be quantized, and stay float32 until then; others keep their type.
  ///   - rounded: those whose inputs will be rounded to integers.
  /// - Throws: `QuantizationError`, ``PipelineError`` for packed models.
  init(
    options: [String: String], model: LoadedModel, quantized: Set<String>, rounded: Set<String> = [],
    pool: ThreadPool
  ) throws {
    let reader = try OptionReader(transform: Self.name, values: options, known: Self.options)
    residual = try reader.choice("residual", default: .auto)
    values = try reader.choice("values", default: .auto)
    inputs = try reader.choice("inputs", default: .auto)
    seed = try reader.integer("seed", default: 0, in: 0...Int(UInt32.max))
    self.rounded = rounded
    self.model = model
    self.quantized = quantized
    self.pool = pool
    edited = EditedWeights(try model.requireCheckpoint())
  }

  /// The model after it, and what was done.
  /// - Throws: ``PipelineError`` when nothing can be turned, or something not that must be.
  mutating func run() throws -> (LoadedModel, TransformReport) {
    if values != .never { try turnValues() }
    let turned = try inputs == .never ? [] : turnInputs()
    var result = model
    if residual != .never {
      result = try turnResidual()
    } else {
      result = model.replacing(weights: edited.weights)
    }
    if !turned.isEmpty { result = try turning(turned, in: result) }
    guard !report.rotated.isEmpty else {
      throw PipelineError.usage(
        "rotation finds nothing that it can turn"
          + (report.refusals.isEmpty ? "" : ": \(report.refusals.joined(separator: "; "))"),
        hint: nil)
    }
    return (result, report)
  }

  private mutating func refuse(_ what: String, _ reason: String, _ scope: Scope) throws {
    guard scope == .auto else {
      throw PipelineError.usage(
        "\(what) cannot be turned: \(reason)", hint: "leave the option at 'auto' to go without")
    }
    report.refusals.append("\(what): \(reason)")
  }

  // MARK: Values

  private mutating func turnValues() throws {
    let uses = model.graph.uses
    var count = 0
    for site in FoldSite.sites(in: model.graph) {
      guard let index = uses.producer(of: site.input), model.graph.nodes[index].operation == .attention,
        case .projection(let weight, let bias, let firstRow) = site.producer
      else { continue }
      let width = try model.graph.nodes[index].integer("head_dim")
      let rotation = HadamardRotation(size: width, seed: nil)
      guard rotation.blockSize > 1 else { continue }
      let rows = firstRow..<firstRow + site.factorCount
      try turnRows(rows, of: weight, by: rotation)
      if let bias { try turnVector(bias, rows, by: rotation) }
      for reader in site.consumers { try turnColumns(of: reader, by: rotation) }
      valueReaders.formUnion(site.consumers)
      count += 1
    }
    if count == 0 {
      try refuse(
        "the values of attention", "no projection alone makes them, or no Hadamard matrix fits a head", values
      )
    }
  }

  // MARK: Inputs

  /// Turns the columns of what reads inputs that nothing before can turn; the weights, input by input.
  private mutating func turnInputs() throws -> [[String]] {
    var turned: [[String]] = []
    for input in TurnableInput.find(in: model.graph) where valueReaders.isDisjoint(with: input.weights) {
      guard inputs == .always || !rounded.isDisjoint(with: input.weights) else { continue }
      let rotation = HadamardRotation(size: input.blockSize, seed: nil)
      for name in input.weights { try turnColumns(of: name, by: rotation) }
      turned.append(input.weights)
    }
    if turned.isEmpty, inputs == .always || !rounded.isEmpty {
      try refuse("the inputs of down and output projections", "projections alone read none of them", inputs)
    }
    return turned
  }

  /// The model whose graph multiplies the inputs of these weights with Hadamard matrices.
  private mutating func turning(_ weights: [[String]], in model: LoadedModel) throws -> LoadedModel {
    var graph = model.graph
    let wanted = Set(weights)
    let inputs = TurnableInput.find(in: graph).filter { wanted.contains($0.weights) }
    guard inputs.count == weights.count else {
      throw PipelineError.weight(weights[0][0], reason: "lost its place in the graph that was imported anew")
    }
    try graph.turn(inputs)
    report.turnedInputs = inputs.count
    return model.replacing(graph: graph)
  }

  // MARK: Residual stream

  private mutating func turnResidual() throws -> LoadedModel {
    let stream: ResidualStream
    do {
      stream = try ResidualStream.find(in: model.graph)
    } catch {
      try refuse("the residual stream", error.reason, residual)
      return model.replacing(weights: edited.weights)
    }
    guard stream.tiedTable == nil || model.rearrangements.isEmpty else {
      try refuse(
        "the residual stream", "the head needs a weight of its own, and others lie rearranged", residual)
      return model.replacing(weights: edited.weights)
    }
    let rotation = HadamardRotation(size: stream.width, seed: UInt64(seed))
    guard rotation.blockSize > 1 else {
      try refuse("the residual stream", "there is no Hadamard matrix for \(stream.width) columns", residual)
      return model.replacing(weights: edited.weights)
    }
    if let table = stream.tiedTable {
      let tensor = try edited.dense(table)
      try edited.store(tensor.floats(), Self.headName, as: tensor.elementType, shape: tensor.shape)
    }
    for reader in stream.readers { try turn(reader, of: stream, by: rotation) }
    for writer in stream.writers {
      let rows = 0..<stream.width
      try turnRows(rows, of: writer.weight, by: rotation)
      if let bias = writer.bias { try turnVector(bias, rows, by: rotation) }
    }
    for table in stream.tables { try turnColumns(of: table, by: rotation) }
    report.streamWidth = stream.width
    return stream.tiedTable == nil ? model.replacing(weights: edited.weights) : try untied()
  }

  private mutating func turn(
    _ reader: ResidualStream.Reader, of stream: ResidualStream, by rotation: HadamardRotation
  ) throws {
    var gains: [Float]?
    if let gain = reader.gain {
      let tensor = try edited.dense(gain)
      gains = try tensor.floats().map { $0 + Float(reader.offset) }
      try edited.store(
        [Float](repeating: 1 - Float(reader.offset), count: stream.width), gain, as: tensor.elementType)
    }
    for name in reader.weights {
      try turnColumns(of: name == stream.tiedTable ? Self.headName : name, gains: gains, by: rotation)
    }
  }

  private static let headName = "lm_head.weight"

  /// The model with a head of its own, imported anew, so that what is exported is what was checked.
  private func untied() throws -> LoadedModel {
    guard var object = model.configuration.objectValue else { return model }
    if case .object(var inner)? = object["text_config"] {
      inner["tie_word_embeddings"] = .bool(false)
      object["text_config"] = .object(inner)
    }
    object["tie_word_embeddings"] = .bool(false)
    let weights = edited.weights.filter { !model.derivedNames.contains($0.key) }
    let imported = try ModelFamily.importModel(
      configuration: .object(object), weights: WeightCatalog(weights))
    guard imported.graph.constants[Self.headName] != nil else {
      throw PipelineError.weight(
        Self.headName, reason: "is not what this family calls its head, which was tied to the embedding")
    }
    return try model.replacing(configuration: .object(object), imported: imported, weights: weights)
  }

  // MARK: Weights

  private mutating func turnColumns(
    of name: String, gains: [Float]? = nil, by rotation: HadamardRotation
  ) throws {
    var matrix = try decoded(name)
    if let gains {
      for index in matrix.values.indices { matrix.values[index] *= gains[index % gains.count] }
    }
    try store(rotation.columnsRotated(matrix, pool: pool), name)
  }

  private mutating func turnRows(
    _ rows: Range<Int>, of name: String, by rotation: HadamardRotation
  ) throws {
    var matrix = try decoded(name)
    let range = rows.lowerBound * matrix.columns..<rows.upperBound * matrix.columns
    let part = try FloatMatrix(rows: rows.count, columns: matrix.columns, values: Array(matrix.values[range]))
    matrix.values.replaceSubrange(range, with: try rotation.rowsRotated(part, pool: pool).values)
    try store(matrix, name)
  }

  private mutating func turnVector(
    _ name: String, _ elements: Range<Int>, by rotation: HadamardRotation
  ) throws {
    let tensor = try edited.dense(name)
    var values = try tensor.floats()
    let part = try FloatMatrix(rows: 1, columns: elements.count, values: Array(values[elements]))
    values.replaceSubrange(elements, with: rotation.columnsRotated(part, pool: pool).values)
    try edited.store(values, name, as: tensor.elementType)
  }

  private func decoded(_ name: String) throws -> FloatMatrix {
    _ = try edited.dense(name)
    return try edited[name].decoded()
  }

  private mutating func store(_ matrix: FloatMatrix, _ name: String) throws {
    let type = quantized.contains(name) ? .f32 : try edited.dense(name).elementType
    try edited.store(matrix.values, name, as: type)
    if !report.rotated.contains(name) { report.rotated.append(name) }
  }
}
