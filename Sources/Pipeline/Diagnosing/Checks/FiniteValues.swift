import Codecs
import Kernels
import OrderedCollections
import Synchronization
import TensorCore

extension DoctorCheck {
  /// NaN and infinity among weights or scales, and weights that are all zero.
  static let finiteValues = DoctorCheck(
    name: "finite-values", summary: "weights and scales are finite, and no matrix is all zero"
  ) { subject, pool in
    var findings: [Finding] = []
    for (name, weight) in subject.weights {
      let scan = try ValueScan(weight, pool: pool)
      if let place = scan.firstNonFinite {
        findings.append(
          Finding(
            .error, check: "finite-values", subject: name,
            "\(scan.nonFiniteCount) values are NaN or infinite, the first in row \(place.row), column \(place.column)",
            meaning: "one such value makes every output of the layer, and then of the model, NaN",
            remedy:
              "the file is damaged or a quantizer overflowed: fetch it again, or quantize again from the original"
          ))
      } else if scan.isAllZero, weight.shape.elementCount > 0, !name.hasSuffix("bias") {
        findings.append(
          Finding(
            .warning, check: "finite-values", subject: name, "every value is zero",
            meaning: "the layer does nothing; tensors that were never filled look like this",
            remedy: "compare with the original checkpoint"))
      }
    }
    for (name, tensor) in subject.model?.companions ?? [:] where tensor.elementType.isFloatingPoint {
      let values = try tensor.floats()
      guard let bad = values.firstIndex(where: { !$0.isFinite || $0 <= 0 }) else { continue }
      findings.append(
        Finding(
          .error, check: "finite-values", subject: name, "scale \(bad) is \(values[bad])",
          meaning: "activations or cached keys and values become NaN or vanish", remedy: "calibrate again"))
    }
    return findings
  }
}

/// What the values of a weight are like.
private struct ValueScan {
  var nonFiniteCount = 0
  var firstNonFinite: (row: Int, column: Int)?
  var isAllZero = true

  /// Decodes all values, a few rows at a time on each thread.
  init(_ weight: Weight, pool: ThreadPool) throws(TensorCoreError) {
    let (rows, columns) = (weight.shape.rows, weight.shape.columns)
    guard rows > 0, columns > 0 else { return }
    let step = max(1, (1 << 16) / columns)
    let parts = Mutex<[(first: Int?, count: Int, isZero: Bool)]>([])
    let failure = Mutex<TensorCoreError?>(nil)
    pool.run(taskCount: Checked.ceilingQuotient(rows, step)) { task in
      let range = task * step..<min((task + 1) * step, rows)
      var values = [Float](repeating: 0, count: range.count * columns)
      let result: Result<Void, TensorCoreError> = unsafe values.withUnsafeMutableBufferPointer { buffer in
        do throws(TensorCoreError) {
          return .success(try unsafe weight.decode(rows: range, into: buffer))
        } catch {
          return .failure(error)
        }
      }
      if case .failure(let error) = result { failure.withLock { $0 = error } }
      let count = values.count { !$0.isFinite }
      let first =
        count == 0 ? nil : values.firstIndex { !$0.isFinite }.map { range.lowerBound * columns + $0 }
      let isZero = values.allSatisfy { $0 == 0 }
      parts.withLock { $0.append((first, count, isZero)) }
    }
    if let error = failure.withLock({ $0 }) { throw error }
    let found = parts.withLock { $0 }
    nonFiniteCount = found.reduce(0) { $0 + $1.count }
    isAllZero = found.allSatisfy(\.isZero)
    if let first = found.compactMap(\.first).min() { firstNonFinite = (first / columns, first % columns) }
  }
}
