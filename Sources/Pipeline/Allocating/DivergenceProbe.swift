import Codecs
import Execution
import Glibc
import Kernels
import OrderedCollections

/// Measures how far predictions move when some weights of a model are replaced, on a few windows: the KL divergence from
/// the unchanged model, over the last half of each window, every second token.
struct DivergenceProbe {
  let model: LoadedModel
  let windows: [[Int32]]
  let pool: ThreadPool
  let kernels: KernelTable

  /// Logarithms of the probabilities of the unchanged model, row after row.
  struct Base {
    var rows: [[Float]] = []
  }

  func base() throws -> Base {
    var base = Base()
    try unsafe forEachRow(replacing: [:]) { row in base.rows.append(unsafe Self.logarithms(row)) }
    return base
  }

  func divergence(replacing weights: [String: Weight], base: Base) throws -> Double {
    var sum = 0.0
    var count = 0
    try unsafe forEachRow(replacing: weights) { row in
      let (expected, found) = (base.rows[count], unsafe Self.logarithms(row))
      var divergence = 0.0
      for index in expected.indices {
        divergence += Double(expf(expected[index])) * Double(expected[index] - found[index])
      }
      sum += max(divergence, 0)
      count += 1
    }
    return sum / Double(max(count, 1))
  }

  private func forEachRow(
    replacing weights: [String: Weight], _ body: (UnsafeBufferPointer<Float>) -> Void
  ) throws {
    let all = try model.requireCheckpoint().merging(weights) { $1 }
    var options = ExecutionOptions.reference
    options.kernels = kernels
    let session = Session(
      program: try LanguageModel(model.replacing(weights: all), options: options).program, pool: pool)
    for window in windows {
      session.reset()
      let range = window.count / 2..<window.count
      try unsafe session.forward(window, rows: range) { logits in
        let width = logits.count / max(range.count, 1)
        for row in stride(from: 0, to: range.count, by: 2) {
          unsafe body(UnsafeBufferPointer(rebasing: logits[row * width..<(row + 1) * width]))
        }
      }
    }
  }

  private static func logarithms(_ logits: UnsafeBufferPointer<Float>) -> [Float] {
    let largest = unsafe logits.reduce(-Float.infinity) { max($0, $1) }
    var sum = 0.0
    for index in logits.indices { sum += Double(expf(unsafe logits[index] - largest)) }
    let shift = largest + Float(log(sum))
    return unsafe logits.map { $0 - shift }
  }
}
