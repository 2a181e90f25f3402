import Codecs
import Kernels

/// Gathers an ``ActivationRange`` from windows of inputs, in their order.
package struct ActivationObserver {
  private var range: ActivationRange
  private let columns: Int
  /// What is rounded to for the error; nil when that has a static scale, which is not known yet.
  private let dynamic: ActivationScheme?
  private let workspace = Workspace()
  private var rounded: [Float] = []

  /// - Parameter scheme: how the inputs will be quantized.
  package init(columns: Int, scheme: ActivationScheme) {
    self.columns = columns
    range = ActivationRange(columns: columns)
    dynamic = scheme.isStatic || scheme.kind == .float32 ? nil : scheme
  }

  /// Adds a window: `[rows, columns]` row-major, all finite.
  package mutating func observe(_ inputs: [Float], kernels: KernelTable, pool: ThreadPool) {
    let rows = columns == 0 ? 0 : inputs.count / columns
    guard rows > 0 else { return }
    range.tokenCount += rows
    unsafe inputs.withUnsafeBufferPointer { inputs in
      guard let start = inputs.baseAddress else { return }
      unsafe count(start, rows: rows)
      guard let dynamic else { return }
      unsafe addError(start, rows: rows, dynamic, kernels, pool)
    }
  }

  private mutating func count(_ inputs: UnsafePointer<Float>, rows: Int) {
    var squares = 0.0
    let columns = columns
    unsafe range.counts.withUnsafeMutableBufferPointer { counts in
      unsafe range.maxima.withUnsafeMutableBufferPointer { maxima in
        for row in 0..<rows {
          var square: Float = 0
          for column in 0..<columns {
            let magnitude = unsafe inputs[row * columns + column].magnitude
            square += magnitude * magnitude
            unsafe counts[Int(magnitude.bitPattern >> UInt32(ActivationRange.droppedBits))] += 1
            if unsafe magnitude > maxima[column] { unsafe maxima[column] = magnitude }
          }
          squares += Double(square)
        }
      }
    }
    range.squareSum += squares
  }

  private mutating func addError(
    _ inputs: UnsafePointer<Float>, rows: Int, _ scheme: ActivationScheme, _ kernels: KernelTable,
    _ pool: ThreadPool
  ) {
    let count = rows * columns
    if rounded.count < count { rounded = [Float](repeating: 0, count: count) }
    let (columns, workspace) = (columns, workspace)
    var sum = 0.0
    unsafe rounded.withUnsafeMutableBufferPointer { target in
      guard let to = target.baseAddress else { return }
      let source = unsafe Rows(UnsafeMutablePointer(mutating: inputs), rows: rows, columns: columns)
      unsafe kernels.roundActivations(
        source, to: InputQuantization(scheme), into: Rows(to, rows: rows, columns: columns),
        workspace: workspace, pool: pool)
      for row in 0..<rows {
        var square: Float = 0
        for index in row * columns..<(row + 1) * columns {
          let difference = unsafe to[index] - inputs[index]
          square += difference * difference
        }
        sum += Double(square)
      }
    }
    range.errorSum += sum
  }

  /// What was seen.
  package consuming func finish() -> ActivationRange { range }
}
