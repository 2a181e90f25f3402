import Architectures
import Codecs
import Execution
import GraphIR
import GraphPasses
import Kernels
import OrderedCollections
import Safetensors
import TensorCore
import TestSupport
import Testing

/// A golden and what the executor makes of it.
struct GoldenRun {
  let checkpoint: Checkpoint
  let weights: OrderedDictionary<String, Weight>
  let sequences: [[Int32]]
  let reference: [[Float]]
  let deviation: Double

  init(_ folder: String) throws {
    checkpoint = try Checkpoint(folder)
    weights = try checkpoint.model.constants(from: checkpoint.tensors.mapValues { .dense($0) })
    let expected = try SafetensorsFile(path: folder + "/expected.safetensors").tensors
    let ids = try #require(expected["input_ids"])
    let logits = try #require(expected["logits"]).floats()
    let (count, length) = (ids.shape.dimensions[0], ids.shape.dimensions[1])
    let tokens = try ids.integers().map { Int32($0) }
    sequences = (0..<count).map { Array(tokens[$0 * length..<($0 + 1) * length]) }
    let width = logits.count / count
    reference = (0..<count).map { Array(logits[$0 * width..<($0 + 1) * width]) }
    let mean = logits.reduce(0.0) { $0 + Double($1) } / Double(logits.count)
    let squares = logits.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) }
    deviation = (squares / Double(logits.count)).squareRoot()
  }

  /// Whether frequencies change within the sequences, so that what is computed in pieces cannot equal the whole.
  var followsLength: Bool {
    let length = sequences.map(\.count).max() ?? 0
    return checkpoint.model.graph.nodes.contains { node in
      let context = node.operation == .rope ? (try? node.integer("context")) ?? 0 : 0
      return 1..<length ~= context
    }
  }

  /// The largest difference from the reference, in standard deviations of the reference, tokens given in pieces.
  func error(_ program: Program, pieces: Int, threads: Int = 2) throws -> Double {
    let pool = ThreadPool(threadCount: threads, isPinned: false)
    var worst = 0.0
    for (tokens, expected) in zip(sequences, reference) {
      let session = Session(program: program, pool: pool)
      var found: [Float] = []
      for start in stride(from: 0, to: tokens.count, by: pieces) {
        let piece = Array(tokens[start..<min(start + pieces, tokens.count)])
        found += try unsafe session.forward(piece, rows: piece.indices) { unsafe Array($0) }
      }
      #expect(found.count == expected.count)
      for (a, b) in zip(found, expected) {
        let difference = abs(Double(a) - Double(b))
        worst = difference.isNaN ? .infinity : max(worst, difference)
      }
    }
    return worst / deviation
  }

  /// A program over weights, some of them encoded, after the standard passes.
  func program(
    _ options: ExecutionOptions, passes: PassPipeline = .standard, codec: (any Codec)? = nil
  ) throws -> Program {
    var graph = checkpoint.model.graph
    _ = try passes.run(&graph)
    let targets = Set(checkpoint.model.graph.linearNodes.flatMap(\.weights))
    return try Program(graph: graph, options: options) { name in
      let weight = try #require(weights[name])
      guard let codec, targets.contains(name) else { return weight }
      return .encoded(try codec.encode(weight.decoded(), importance: nil, search: .extremes))
    }
  }
}

@Suite struct GoldenModesTests {
  @Test(arguments: GoldenTests.names) func wholeChunksAndSinglesMatch(name: String) throws {
    let run = try GoldenRun(GoldenTests.folder(name))
    let program = try run.program(.reference)
    for pieces in [48, 7, 1] where pieces == 48 || !run.followsLength {
      let error = try run.error(program, pieces: pieces)
      print("golden", name, pieces, error)
      #expect(error <= 1e-4, "\(name) in pieces of \(pieces)")
    }
    #expect(try run.error(program, pieces: 48, threads: 1) <= 1e-4)
    let plain = try run.program(.reference, passes: PassPipeline([]))
    #expect(try run.error(plain, pieces: 48) <= 1e-4, "without passes")
  }
}
