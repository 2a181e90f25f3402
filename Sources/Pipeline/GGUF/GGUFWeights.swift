import Architectures
import Codecs
import GGUF
import OrderedCollections
import SafeIO
import TensorCore

/// Turns the tensors of a GGUF file into weights under the checkpoint's names.
struct GGUFWeights {
  private let checkpoint: GGUFCheckpoint
  private let names: GGUFNames
  private let architecture: String
  private static let scaleSuffix = ".scale"
  private static let inputScaleSuffix = ".input_scale"

  init(_ model: GGUFModel) {
    checkpoint = model.checkpoint
    names = GGUFNames(model.dialect, configuration: model.configuration)
    architecture = model.dialect.architecture
  }

  /// Weights in the order of the file, and tensors that belong to no weight.
  /// - Throws: ``PipelineError/weight(_:reason:)`` for names and types that mean nothing here.
  func read() throws -> (OrderedDictionary<String, Weight>, companions: OrderedDictionary<String, Tensor>) {
    var weights: OrderedDictionary<String, Weight> = [:]
    var companions: OrderedDictionary<String, Tensor> = [:]
    for (name, entry) in checkpoint.tensors where name != GGUFDialect.rotaryFactorsName {
      guard let place = names.checkpointPlace(ofStored: name) else {
        throw PipelineError.weight(
          name,
          reason: "a \(architecture) model has no such tensor, so that nobody knows what it would change")
      }
      if name.hasSuffix(Self.inputScaleSuffix) {
        companions[place.name] = try checkpoint.tensor(named: name)
      } else if name.hasSuffix(Self.scaleSuffix) {
        try checkScale(name)
      } else {
        for (target, weight) in try parts(entry, place) {
          guard weights.updateValue(weight, forKey: target) == nil else {
            throw PipelineError.weight(target, reason: "two tensors of the file are this weight")
          }
        }
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

  private func parts(_ entry: GGUFTensor, _ place: GGUFPlace) throws -> [(String, Weight)] {
    guard case .experts = place.transform else {
      let weight = try weight(
        entry, try checkpoint.bytes(of: entry.name), entry.shape, scale: scale(entry, 0))
      return [(place.name, try applied(place.transform, to: weight, entry.name))]
    }
    guard entry.shape.rank == 3 else {
      throw PipelineError.weight(
        entry.name, reason: "experts' tensors have three dimensions, not \(entry.shape)")
    }
    let stacked = try checkpoint.bytes(of: entry.name)
    let count = entry.shape.dimensions[0]
    let parts = try stacked.reshaped(to: Shape([count, stacked.byteCount / count]))
    let shape = try Shape(Array(entry.shape.dimensions.dropFirst()))
    return try (0..<count).map { index in
      let weight = try weight(entry, parts.entry(index), shape, scale: scale(entry, index))
      return (place.name.replacing("@", with: "\(index)"), weight)
    }
  }

  private func weight(_ entry: GGUFTensor, _ bytes: Tensor, _ shape: Shape, scale: Float) throws -> Weight {
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
  private func scale(_ entry: GGUFTensor, _ expert: Int) throws -> Float {
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
    case .none, .experts: return weight
    case .shifted(let amount):
      guard case .dense(let tensor) = weight else {
        throw PipelineError.weight(name, reason: "quantized values cannot be shifted")
      }
      return .dense(try Tensor(tensor.floats().map { $0 - amount }, shape: tensor.shape))
    case .rotaryRows(let heads):
      let rows = weight.shape.dimensions.first ?? 0
      guard let order = transform.storedRows(count: rows) else {
        throw PipelineError.weight(name, reason: "\(rows) rows are not \(heads) heads of an even width")
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
