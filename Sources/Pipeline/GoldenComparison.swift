import Architectures
import Codecs
import Execution
import GraphIR
import Kernels
import OrderedCollections
import SafeIO
import Safetensors
import TensorCore

/// Compares a model with logits that somebody else computed for it, in every way in which it can be run.
public struct GoldenComparison {
  /// A way to run a model.
  public enum Mode: String, Sendable, CaseIterable {
    /// All tokens at once, float32.
    case whole
    /// Seven tokens at a time through the cache, float32.
    case chunks
    /// One token at a time through the cache, float32.
    case tokens
    /// Linear weights rounded to int8 groups of 32, float32 arithmetic.
    case int8Weights = "int8 weights"
    /// The same with int8 arithmetic and a cache of halves.
    case int8

    var pieceLength: Int {
      switch self {
      case .chunks: 7
      case .tokens: 1
      default: .max
      }
    }

    /// The largest error that a right computation can have, in standard deviations of the logits.
    public var bound: Double {
      switch self {
      case .whole, .chunks, .tokens: 1e-4
      case .int8Weights, .int8: 0.5
      }
    }
  }

  /// The model's family.
  public let family: String
  private let model: LoadedModel
  private let sequences: [[Int32]]
  private let reference: [Float]
  private let pool: ThreadPool

  /// The largest error that a right computation can have in a mode. Where a router chooses experts, a rounded input can tip
  /// the choice, and a token then takes another way: 0.04 to 0.70 was measured with eight such models, 0.03 to 0.25 with others.
  public func bound(_ mode: Mode) -> Double {
    let routes = model.graph.nodes.contains { $0.operation == .route }
    return routes && (mode == .int8 || mode == .int8Weights) ? 1 : mode.bound
  }

  /// Whether a mode can equal the reference: pieces cannot where rotary frequencies change within the sequences, which are
  /// longer than the context that the frequencies were made for.
  public func applies(_ mode: Mode) -> Bool {
    ![.chunks, .tokens].contains(mode) || !followsLength
  }

  private var followsLength: Bool {
    let length = sequences.map(\.count).max() ?? 0
    return model.graph.nodes.contains { node in
      let context = node.operation == .rope ? (try? node.integer("context")) ?? 0 : 0
      return 1..<length ~= context
    }
  }

  /// Reads `DIRECTORY/expected.safetensors` (`input_ids` [B, T] and `logits` float32 [B, T, vocabulary]) and the model beside it.
  /// - Throws: ``PipelineError`` and the formats' own errors.
  public init(directory: String, pool: ThreadPool) throws {
    model = try ModelFormats.load(directory)
    family = model.summary.family
    let file = try SafetensorsFile(path: directory + "/expected.safetensors")
    guard let ids = file.tensors["input_ids"], let logits = file.tensors["logits"], ids.shape.rank == 2,
      logits.shape.dimensions == ids.shape.dimensions + [model.summary.sizes.vocabularySize],
      ids.shape.elementCount > 0
    else {
      throw PipelineError.usage(
        "\(directory)/expected.safetensors does not hold input_ids [B, T] and logits [B, T, vocabulary]",
        hint: "Tests/ArchitecturesTests/Goldens/make.py writes such files")
    }
    let tokens = try ids.integers().map { Int32(clamping: $0) }
    let length = ids.shape.dimensions[1]
    sequences = stride(from: 0, to: tokens.count, by: length).map { Array(tokens[$0..<$0 + length]) }
    reference = try logits.floats()
    self.pool = pool
  }

  /// The largest difference from the reference, in standard deviations of the reference.
  /// - Throws: `ExecutionError`, `CodecError`.
  public func error(_ mode: Mode) throws -> Double {
    let session = Session(program: try program(mode), pool: pool)
    var found: [Float] = []
    for tokens in sequences {
      session.reset()
      var rest = tokens[...]
      while !rest.isEmpty {
        let piece = Array(rest.prefix(mode.pieceLength))
        rest = rest.dropFirst(piece.count)
        found += try unsafe session.forward(piece, rows: piece.indices) { unsafe Array($0) }
      }
    }
    return Self.largestDifference(found, reference)
  }

  private func program(_ mode: Mode) throws -> Program {
    guard mode == .int8 || mode == .int8Weights else {
      return try LanguageModel(model, options: .reference).program
    }
    let options = mode == .int8 ? ExecutionOptions() : .reference
    let weights = try model.requireCheckpoint()
    let linear = Set(model.graph.linearNodes.flatMap(\.weights))
    let codec = try CodecRegistry.codec(canonicalName: "int8-g32-sym")
    var rounded = weights
    for (name, weight) in weights where linear.contains(name) {
      rounded[name] = .encoded(try codec.encode(weight.decoded(), importance: nil, search: .extremes))
    }
    return try LanguageModel(model.replacing(weights: rounded), options: options).program
  }

  private static func largestDifference(_ found: [Float], _ reference: [Float]) -> Double {
    guard found.count == reference.count else { return .infinity }
    let mean = reference.reduce(0.0) { $0 + Double($1) } / Double(reference.count)
    let squares = reference.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) }
    var largest = 0.0
    for (a, b) in zip(found, reference) {
      let difference = abs(Double(a) - Double(b))
      if difference.isNaN { return .infinity }
      largest = max(largest, difference)
    }
    return largest / (squares / Double(reference.count)).squareRoot()
  }
}
