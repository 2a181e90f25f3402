import Architectures
import Codecs
import GGUF
import OrderedCollections
import SafeIO
import TensorCore

/// Turns the tensors of a GGUF file into weights under the checkpoint's names.
struct GGUFWeights {
  let checkpoint: GGUFCheckpoint
  private let names: GGUFNames
  private let architecture: String
  private static let scaleSuffix = ".scale"
  private static let inputScaleSuffix = ".input_scale"

  init(_ model: GGUFModel) throws {
    checkpoint = model.checkpoint
    names = try GGUFNames(configuration: model.configuration)
    architecture = model.architecture
  }

  /// Weights in the order of the file, and tensors that belong to no weight.
  /// - Throws: ``PipelineError/weight(_:reason:)`` for names and types that mean nothing here.
  func read() throws -> (OrderedDictionary<String, Weight>, companions: OrderedDictionary<String, Tensor>) {
    var weights: OrderedDictionary<String, Weight> = [:]
    var companions: OrderedDictionary<String, Tensor> = [:]
    var unfinished: OrderedDictionary<String, [Int: GGUFTensor]> = [:]
    for (name, entry) in checkpoint.tensors where !GGUFDialect.rotaryTableNames.contains(name) {
      if names.isSpare(stored: name) { continue }
      let places = names.checkpointPlaces(ofStored: name)
      guard let place = places.first else {
        throw PipelineError.weight(
          name,
          reason: "a \(architecture) model has no such tensor, so that nobody knows what it would change")
      }
      if let number = place.transform.partNumber {
        unfinished[place.name, default: [:]][number] = entry
      } else if name.hasSuffix(Self.inputScaleSuffix) {
        companions[place.name] = try checkpoint.tensor(named: name)
      } else if name.hasSuffix(Self.scaleSuffix) {
        try checkScale(name)
      } else {
        for (target, weight) in try places.flatMap({ try parts(entry, $0, of: places) }) {
          guard weights.updateValue(weight, forKey: target) == nil else {
            throw PipelineError.weight(target, reason: "two tensors of the file are this weight")
          }
        }
      }
    }
    for (name, entries) in unfinished {
      guard weights.updateValue(try joined(entries, name), forKey: name) == nil else {
        throw PipelineError.weight(name, reason: "two tensors of the file are this weight")
      }
    }
    return (weights, companions)
  }

  /// A scale of its own is part of NVFP4 weights; for others it would change what the layer computes.
  private func checkScale(_ name: String) throws {
    let weight = name.dropLast(Self.scaleSuffix.count) + ".weight"
    guard checkpoint.tensors[String(weight)]?.type.name == "NVFP4" else {
      throw PipelineError.weight(name, reason: "scales weights of a type that has no such scale")
    }
  }

  private func parts(
    _ entry: GGUFTensor, _ place: GGUFPlace, of places: [GGUFPlace]
  ) throws -> [(String, Weight)] {
    guard case .stacked(let rank) = place.transform else {
      let whole = try weight(
        entry, try checkpoint.bytes(of: entry.name), entry.shape, scale: scale(entry, 0))
      let weight = try portion(place, of: whole, among: places, entry.name)
      return [(place.name, try applied(place.transform, to: weight, entry.name))]
    }
    // One of a kind may lie there without the dimension that counts them.
    let dimensions = (entry.shape.rank == rank ? [1] : []) + entry.shape.dimensions
    guard dimensions.count == rank + 1, dimensions[0] > 0 else {
      throw PipelineError.weight(
        entry.name, reason: "stacked tensors have \(rank + 1) dimensions here, not \(entry.shape)")
    }
    let stacked = try checkpoint.bytes(of: entry.name)
    let parts = try stacked.reshaped(to: Shape([dimensions[0], stacked.byteCount / dimensions[0]]))
    let shape = try Shape(Array(dimensions.dropFirst()))
    return try (0..<dimensions[0]).map { index in
      let whole = try weight(entry, parts.entry(index), shape, scale: scale(entry, index))
      let weight = try portion(place, of: whole, among: places, entry.name)
      return (place.name.replacing("@", with: "\(index)"), weight)
    }
  }

  /// The rows of a tensor that belong to a place.
  private func portion(
    _ place: GGUFPlace, of weight: Weight, among places: [GGUFPlace], _ name: String
  ) throws -> Weight {
    guard let rows = place.rows, let last = places.last?.rows else { return weight }
    guard weight.shape.dimensions.first == last.upperBound else {
      throw PipelineError.weight(
        name, reason: "has the shape \(weight.shape), and \(last.upperBound) rows are wanted")
    }
    return try weight.selecting(rows: Array(rows))
  }

  func weight(_ entry: GGUFTensor, _ bytes: Tensor, _ shape: Shape, scale: Float) throws -> Weight {
    if let type = entry.type.elementType {
      return .dense(try bytes.reinterpreted(as: type, shape: shape))
    }
    guard shape.rank == 2 else {
      throw PipelineError.weight(entry.name, reason: "\(entry.type.name) of \(shape) is no matrix")
    }
    return .encoded(
      try GGUFBlocks.matrix(
        type: entry.type, rows: shape.dimensions[0], columns: shape.dimensions[1], bytes: bytes, scale: scale,
        name: entry.name))
  }

  /// The scale of a whole NVFP4 weight (of each expert), which files leave out when it is 1.
  func scale(_ entry: GGUFTensor, _ expert: Int) throws -> Float {
    guard entry.type.name == "NVFP4", entry.name.hasSuffix(".weight") else { return 1 }
    let name = entry.name.dropLast(7) + Self.scaleSuffix
    guard let scales = checkpoint.tensors[String(name)] else { return 1 }
    let values = try checkpoint.tensor(named: scales.name)
    guard expert < values.shape.elementCount else {
      throw PipelineError.weight(scales.name, reason: "has too few scales: \(values.shape)")
    }
    return try values.floats(elements: expert..<expert + 1)[0]
  }

  private func applied(_ transform: GGUFTransform, to weight: Weight, _ name: String) throws -> Weight {
    switch transform {
    case .none, .stacked, .fusedPart: return weight
    case .row:
      guard case .dense(let tensor) = weight else {
        throw PipelineError.weight(name, reason: "quantized values are no vector")
      }
      return .dense(try tensor.reshaped(to: Shape([1, tensor.shape.elementCount])))
    case .shifted(let amount):
      guard case .dense(let tensor) = weight else {
        throw PipelineError.weight(name, reason: "quantized values cannot be shifted")
      }
      return .dense(try Tensor(tensor.floats().map { $0 - amount }, shape: tensor.shape))
    case .rotaryRows, .rows, .headRows:
      let rows = weight.shape.dimensions.first ?? 0
      guard let order = transform.storedRows(count: rows) else {
        throw PipelineError.weight(name, reason: "\(rows) rows are not the heads of the configuration")
      }
      return try weight.selecting(rows: order)
    }
  }
}

extension Weight {
  /// The weight whose row `i` is row `order[i]` of this one; rows are moved when they are first used.
  func selecting(rows order: [Int]) throws -> Weight {
    switch self {
    case .dense(let tensor): .dense(try tensor.selecting(rows: order))
    case .encoded(let matrix): .encoded(try matrix.selecting(rows: order))
    }
  }
}
