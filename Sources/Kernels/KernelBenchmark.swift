import CKernels
import Codecs
import Glibc
import TensorCore

/// One measurement of a kernel.
public struct KernelMeasurement: Sendable {
  /// The operation, such as `linear` or `attention`.
  public let operation: String
  /// Sizes, such as `2048x2048, T=192`.
  public let shape: String
  /// How weights or cached keys are stored, and what they are multiplied with.
  public let encoding: String
  /// Threads.
  public let threadCount: Int
  /// 10^9 operations a second; a multiplication and an addition are two.
  public let gigaoperationsPerSecond: Double
  /// 10^9 bytes of weights or cache a second.
  public let gigabytesPerSecond: Double
  /// ``gigaoperationsPerSecond`` over the measured peak of float32 multiply-adds of as many threads.
  public let shareOfPeak: Double
}

/// Measures the kernels of one instruction set: best of several runs on random data.
public struct KernelBenchmark {
  private let table: KernelTable
  private let pool: ThreadPool
  private let workspace = Workspace()
  /// Measured peak, in 10^9 operations a second of all threads; 0 for plain C.
  public let peak: Double

  /// Prepares measurements with the kernels of `table` on `threadCount` threads.
  public init(table: KernelTable = .best, threadCount: Int) {
    self.table = table
    pool = ThreadPool(threadCount: threadCount)
    peak = KernelBenchmark.measurePeak(table, pool)
  }

  /// All measurements, in a fixed order; takes a few seconds.
  public func run() -> [KernelMeasurement] {
    var rows: [KernelMeasurement] = []
    for (encoding, activations) in [
      (PanelEncoding.f32, ActivationScheme.float32), (.bf16, .float32), (.compactBF16, .float32),
      (.q4, .float32), (.q8, .int8Block),
      (.q4, .int8Block), (.e4m3, .float32),
    ] {
      for (size, tokens) in [(2048, 192), (2048, 6), (8192, 1)] {
        if let row = linear(encoding, activations, rows: size, columns: 2048, tokens: tokens) {
          rows.append(row)
        }
      }
    }
    for element in KVElement.allCases {
      rows.append(attention(element, keys: 512, tokens: 512))
      rows.append(attention(element, keys: 4096, tokens: 1))
    }
    rows.append(normalization())
    return rows
  }

  /// Measures a linear layer of `[rows, columns]`; codes have groups of 128. Nil when there is no such weight.
  public func linear(
    _ encoding: PanelEncoding, _ activations: ActivationScheme, rows: Int, columns: Int, tokens: Int
  ) -> KernelMeasurement? {
    guard let matrix = randomMatrix(encoding, rows: rows, columns: columns) else { return nil }
    let input = RandomRows(rows: tokens, columns: columns)
    let output = RandomRows(rows: tokens, columns: rows)
    let seconds = bestTime {
      unsafe table.linear(
        input.view, matrix, into: output.view, activations: InputQuantization(activations),
        workspace: workspace, pool: pool)
    }
    withExtendedLifetime((input, output)) {}
    let name = encoding.isQuantized ? "\(encoding.rawValue) x \(activations)" : encoding.rawValue
    return measurement(
      "linear", "\(rows)x\(columns), T=\(tokens)", name, seconds, operations: 2 * rows * columns * tokens,
      bytes: matrix.byteCount)
  }

  /// Measures attention of 32 heads of 64 over 8 key/value heads.
  public func attention(_ element: KVElement, keys: Int, tokens: Int) -> KernelMeasurement {
    let (heads, kvHeads, dimension) = (32, 8, 64)
    let cache = KVPages(heads: kvHeads, headDimension: dimension, format: KVFormat(keys: element))
    let values = RandomRows(rows: keys, columns: kvHeads * dimension)
    unsafe table.appendKV(k: values.view, v: values.view, to: cache, pool: pool)
    let q = RandomRows(rows: tokens, columns: heads * dimension)
    let y = RandomRows(rows: tokens, columns: heads * dimension)
    let seconds = bestTime {
      unsafe table.attention(
        q.view, cache: cache, heads: heads, scale: 0.125, into: y.view, workspace: workspace, pool: pool)
    }
    withExtendedLifetime((values, q, y)) {}
    let pairs = tokens * (keys - tokens) + tokens * (tokens + 1) / 2
    return measurement(
      "attention", "\(heads)/\(kvHeads) heads of \(dimension), \(tokens) of \(keys)", element.rawValue,
      seconds,
      operations: 4 * pairs * dimension * heads, bytes: Int(cache.bytesPerToken * Double(keys)))
  }

  private func normalization() -> KernelMeasurement {
    let x = RandomRows(rows: 512, columns: 2048)
    let weight = RandomRows(rows: 1, columns: 2048)
    let seconds = bestTime {
      unsafe table.rmsNorm(x.view, weight: weight.view.pointer, epsilon: 1e-5, into: x.view, pool: pool)
    }
    withExtendedLifetime((x, weight)) {}
    return measurement(
      "rms_norm", "512x2048", "f32", seconds, operations: 4 * 512 * 2048, bytes: 8 * 512 * 2048)
  }

  private func randomMatrix(_ encoding: PanelEncoding, rows: Int, columns: Int) -> PanelMatrix? {
    let hasScales = encoding.hasScales
    let isCompact = encoding == .compactBF16
    guard
      let layout = try? PanelLayout(
        encoding: isCompact ? .bf16 : encoding, rows: rows, columns: columns,
        blockLength: hasScales ? 128 : 0, hasZeros: false)
    else { return nil }
    var state: UInt64 = 1
    let region = unsafe LargeMemory.region(byteCount: layout.byteCount) { bytes in
      for index in 0..<bytes.count {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        // Even bytes are any, odd ones give floats, halves and bfloat16 a moderate exponent.
        unsafe bytes[index] = index & 1 == 0 ? UInt8(truncatingIfNeeded: state >> 56) : 0x3C
      }
    }
    if isCompact {
      guard rows % PanelMatrix.panelRows == 0,
        let values = try? Tensor(elementType: .bf16, shape: Shape([rows, columns]), region: region)
      else { return nil }
      return try? PanelMatrix(packing: [.dense(values)], compacts: true)
    }
    guard let storage = try? Tensor(elementType: .u8, shape: Shape([layout.byteCount]), region: region) else {
      return nil
    }
    return try? PanelMatrix(
      encoding: encoding, rows: rows, columns: columns, blockLength: hasScales ? 128 : 0, hasZeros: false,
      storage: storage)
  }

  private func measurement(
    _ operation: String, _ shape: String, _ encoding: String, _ seconds: Double, operations: Int, bytes: Int
  ) -> KernelMeasurement {
    let rate = Double(operations) / seconds * 1e-9
    return KernelMeasurement(
      operation: operation, shape: shape, encoding: encoding, threadCount: pool.threadCount,
      gigaoperationsPerSecond: rate, gigabytesPerSecond: Double(bytes) / seconds * 1e-9,
      shareOfPeak: peak > 0 ? rate / peak : 0)
  }

  /// The best of at least 5 runs and 0.1 seconds, after one to warm up.
  private func bestTime(_ body: () -> Void) -> Double { KernelBenchmark.bestTime(body) }

  private static func bestTime(_ body: () -> Void) -> Double {
    body()
    var best = Double.infinity
    var total = 0.0
    var count = 0
    while count < 5 || (total < 0.1 && count < 1000) {
      let start = now()
      body()
      let elapsed = now() - start
      best = min(best, elapsed)
      total += elapsed
      count += 1
    }
    return best
  }

  private static func measurePeak(_ table: KernelTable, _ pool: ThreadPool) -> Double {
    let repetitions = 20_000
    let seconds = bestTime {
      pool.run(taskCount: pool.threadCount) { _ in
        var sink: [Float] = [1, 0.5]
        _ = unsafe ck_fma_burn(table.instructionSet.code, repetitions, &sink)
      }
    }
    if table.instructionSet == .portable { return 0 }
    return Double(repetitions * 96 * 16 * 2 * pool.threadCount) / seconds * 1e-9
  }

  private static func now() -> Double {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }
}

/// Rows of numbers between -1 and 1.
@safe
private final class RandomRows {
  private let buffer = AlignedBuffer()
  private let rows: Int
  private let columns: Int

  init(rows: Int, columns: Int) {
    self.rows = rows
    self.columns = columns
    var state: UInt64 = 7
    let values = unsafe buffer.floats(rows * columns)
    for index in 0..<rows * columns {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      unsafe values[index] = Float(Int32(truncatingIfNeeded: state >> 32)) * 0x1p-31
    }
  }

  var view: Rows { unsafe Rows(buffer.floats(0), rows: rows, columns: columns) }
}
