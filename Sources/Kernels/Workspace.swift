/// Scratch memory of kernels: grows on demand, never shrinks. One for each caller that works at the same time.
public final class Workspace: @unchecked Sendable {
  private var threads: [AlignedBuffer] = []
  /// Int8 activations of linear layers that were given floats.
  let activations = QuantizedRows()
  /// Cosines and sines of rope calls that bring no table.
  let rotary = RotaryTable()

  /// Rows of the tokens of an expert, and of its products.
  private let expertInputs = AlignedBuffer()
  private let expertOutputs = AlignedBuffer()

  /// Activations that were rounded and are floats again.
  private let roundedActivations = AlignedBuffer()
  /// Activations without their outliers, and those alone.
  private let separatedActivations = AlignedBuffer()

  /// Gates and factors that a gated layer could not multiply as it made them.
  private let gates = AlignedBuffer()
  /// Keys that attention turned.
  private let keys = AlignedBuffer()

  /// Inputs that were at or beyond the threshold of their scheme, since the workspace was made.
  public internal(set) var outlierCount = 0
  /// Inputs whose scheme has a threshold.
  public internal(set) var outlierCandidates = 0

  /// Creates an empty workspace.
  public init() {}

  /// Bytes in use.
  public var byteCount: Int {
    threads.reduce(0) { $0 + $1.byteCount } + activations.byteCount + rotary.byteCount
      + expertInputs.byteCount + expertOutputs.byteCount + roundedActivations.byteCount
      + separatedActivations.byteCount + gates.byteCount + keys.byteCount
  }

  /// Room for the inputs and outputs of `rows` tokens of an expert.
  func expertRows(_ rows: Int, inputs: Int, outputs: Int) -> (inputs: Rows, outputs: Rows) {
    unsafe (
      Rows(expertInputs.floats(rows * inputs), rows: rows, columns: inputs),
      Rows(expertOutputs.floats(rows * outputs), rows: rows, columns: outputs)
    )
  }

  /// Room for gates and factors.
  func gatedRows(_ rows: Int, columns: Int) -> Rows {
    unsafe Rows(gates.floats(rows * columns), rows: rows, columns: columns)
  }

  /// Room for turned keys.
  func turnedKeys(_ rows: Int, columns: Int) -> Rows {
    unsafe Rows(keys.floats(rows * columns), rows: rows, columns: columns)
  }

  /// Room for rounded activations.
  func roundedRows(_ rows: Int, columns: Int) -> Rows {
    unsafe Rows(roundedActivations.floats(rows * columns), rows: rows, columns: columns)
  }

  /// Room for activations without outliers, and for those.
  func separatedRows(_ rows: Int, columns: Int) -> (rest: Rows, outliers: Rows) {
    let start = unsafe separatedActivations.floats(2 * rows * columns)
    return unsafe (
      Rows(start, rows: rows, columns: columns), Rows(start + rows * columns, rows: rows, columns: columns)
    )
  }

  /// Makes sure that each of `threadCount` threads has `floatCount` floats of its own, 64-byte aligned.
  func reserve(threadCount: Int, floatCount: Int) {
    while threads.count < threadCount { threads.append(AlignedBuffer()) }
    for index in 0..<threadCount { unsafe _ = threads[index].floats(floatCount) }
  }

  /// The floats of one thread, reserved before.
  func scratch(_ worker: Int) -> UnsafeMutablePointer<Float> { unsafe threads[worker].floats(0) }
}
