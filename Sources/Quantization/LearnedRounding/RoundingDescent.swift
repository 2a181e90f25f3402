import Codecs
import Differentiation
import GraphIR
import Kernels
import TensorCore

/// Gradient descent on the codes and scales of some weights of a graph, with linearly falling steps.
///
/// Windows of a step run forward and backward in parallel; then parts of weights gather their gradients window by window and move,
/// so that nothing depends on the number of threads.
struct RoundingDescent {
  /// A weight that moves, and its place in the program.
  struct Learner {
    let place: Int
    let weight: LearnableWeight
  }

  let program: DifferentiableGraph
  let learners: [Learner]
  let pool: ThreadPool

  /// Prepares the weights of a graph that are quantized on grids; none when there are no such.
  /// - Parameter reach: how far a code's offset of such a weight can move in all steps together, in codes.
  /// - Throws: `DifferentiationError`, ``QuantizationError``, or what the closures throw.
  init(
    graph: Graph, original: (String) throws -> FloatMatrix, matrices: [String: EncodedMatrix],
    constant: (String) throws -> [Float], reach: (GridMatrix) -> Double, pool: ThreadPool
  ) throws {
    let grids = matrices.compactMapValues { GridMatrix($0) }
    program = try DifferentiableGraph(graph: graph, trained: Set(grids.keys)) { name in
      try matrices[name]?.decoded().values ?? constant(name)
    }
    learners = try program.weights.enumerated().compactMap { place, target in
      guard let start = grids[target.name] else { return nil }
      let weights = try original(target.name)
      guard weights.rows == start.rows, weights.columns == start.columns else {
        throw QuantizationError.shapeMismatch(
          layer: target.name, expected: "\(start.rows) x \(start.columns)",
          found: "\(weights.rows) x \(weights.columns)")
      }
      return Learner(
        place: place,
        weight: LearnableWeight(start: start, weights: weights, target: target, reach: reach(start)))
    }
    self.pool = pool
  }

  /// How far scales move, and how often they and codes do.
  struct Schedule {
    let iterations: Int
    let batch: Int
    let scaleReach: Double
    let seed: UInt64
  }

  /// Descends.
  /// - Parameters:
  ///   - windowCount: windows to choose from.
  ///   - progress: called before each step.
  ///   - backward: runs a window forward and back.
  func run(
    _ schedule: Schedule, windowCount: Int, progress: (Int) throws -> Void, backward: (Int) throws -> Tape
  ) throws {
    var order = WindowOrder(count: windowCount, seed: schedule.seed)
    let parts = learners.flatMap { learner in
      RowChunks.ranges(rows: learner.weight.start.rows).map { (learner, $0) }
    }
    let batch = min(schedule.batch, windowCount)
    for iteration in 0..<schedule.iterations {
      try progress(iteration)
      let chosen = (0..<batch).map { _ in order.next() }
      let tapes = try pool.map(batch) { try backward(chosen[$0]) }
      let left = 1 - Double(iteration) / Double(schedule.iterations)
      let share = 2 * left / Double(schedule.iterations + 1)
      pool.run(taskCount: parts.count) { number in
        let (learner, rows) = parts[number]
        var gradient = [Float](repeating: 0, count: rows.count * learner.weight.start.columns)
        unsafe gradient.withUnsafeMutableBufferPointer { gradient in
          guard let start = gradient.baseAddress else { return }
          for tape in tapes { unsafe tape.addWeightGradient(of: learner.place, rows: rows, into: start) }
          unsafe learner.weight.step(
            rows: rows, gradient: start,
            rates: LearnableWeight.Rates(
              share: share, multiplier: schedule.scaleReach * share, step: iteration))
        }
      }
    }
  }

  /// The matrices as they are now, with scales as they are stored; the program goes on with these. Also the codes that differ
  /// from the start.
  /// - Throws: `CodecError`.
  func finish() throws -> (matrices: [String: EncodedMatrix], changedCodes: Int) {
    var result: [String: EncodedMatrix] = [:]
    var changed = 0
    for learner in learners {
      let grid = learner.weight.finished()
      changed += zip(grid.codes, learner.weight.start.codes).count { $0 != $1 }
      let matrix = try grid.assembled()
      result[learner.weight.target.name] = matrix
      learner.weight.target.assign(matrix.decoded().values)
    }
    return (result, changed)
  }
}

/// Windows in seeded random order, each once before any comes again.
struct WindowOrder {
  private var generator: SplitMix64
  private var order: [Int]
  private var place = 0

  init(count: Int, seed: UInt64) {
    generator = SplitMix64(seed: seed)
    order = Array(0..<count)
    order.shuffle(using: &generator)
  }

  mutating func next() -> Int {
    if place == order.count {
      order.shuffle(using: &generator)
      place = 0
    }
    place += 1
    return order[place - 1]
  }
}
