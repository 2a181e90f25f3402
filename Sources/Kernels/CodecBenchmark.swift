import Codecs
import Glibc
import TensorCore

/// How fast a codec encodes and decodes, in 10^9 bytes a second of the weights as bfloat16.
public struct CodecMeasurement: Sendable {
  /// Canonical name.
  public let codec: String
  /// Storage of the measured matrix.
  public let bitsPerWeight: Double
  /// Encoding with ``ScaleSearch/extremes``; nil when the codec cannot encode.
  public let encodingExtremes: Double?
  /// Encoding with ``ScaleSearch/standard``; nil when the codec cannot encode.
  public let encodingSearched: Double?
  /// Decoding to float32; nil when there was nothing to decode.
  public let decoding: Double?
}

/// Measures every codec of the registry with its own parameters: best of several runs on random bfloat16 rows, which
/// threads take in turn.
public struct CodecBenchmark {
  private let pool: ThreadPool
  private let tensor: Tensor
  /// Rows that a thread encodes at a time.
  private let chunk = 8
  /// Shortest time that runs of one kind take together.
  private let seconds: Double

  /// Prepares measurements on `threadCount` threads with rows of `columns` weights.
  /// - Throws: ``KernelsError``.
  public init(threadCount: Int, columns: Int = 4096, seconds: Double = 0.05) throws(KernelsError) {
    pool = ThreadPool(threadCount: threadCount)
    self.seconds = seconds
    var random = SplitMix64(seed: 11)
    let rows = chunk * max(threadCount, 1) * 2
    let bytes = (0..<rows * columns).flatMap { _ in
      // Sums of uniform numbers are nearly normal.
      let sum = (0..<4).reduce(Float(0)) { total, _ in total + Float(random.nextUnit()) }
      let bits = SmallFloat.bfloat16((sum - 2) * 0.05)
      return [UInt8(truncatingIfNeeded: bits), UInt8(truncatingIfNeeded: bits >> 8)]
    }
    do throws(TensorCoreError) {
      tensor = try Tensor(bytes: bytes, elementType: .bf16, shape: Shape([rows, columns]))
    } catch { throw .tensor(error) }
  }

  /// All measurements, in the order of the registry.
  public func run() -> [CodecMeasurement] {
    CodecRegistry.entries.compactMap { entry in
      guard let codec = try? entry.make(CodecParameters()) else { return nil }
      return measure(codec)
    }
  }

  /// Measures one codec.
  public func measure(_ codec: any Codec) -> CodecMeasurement {
    let part = try? codec.encode(rows: 0..<chunk, of: tensor, importance: nil, search: .extremes)
    let columns = tensor.shape.columns
    return CodecMeasurement(
      codec: codec.canonicalName, bitsPerWeight: codec.bitsPerWeight(columns: columns),
      encodingExtremes: part.map { _ in encoding(codec, .extremes) },
      encodingSearched: part.map { _ in encoding(codec, .standard) },
      decoding: part.map { part in
        rate { _ in
          unsafe withUnsafeTemporaryAllocation(of: Float.self, capacity: chunk * columns) { target in
            unsafe codec.decode(part, rows: 0..<chunk, into: target)
          }
        }
      })
  }

  private func encoding(_ codec: any Codec, _ search: ScaleSearch) -> Double {
    rate { task in
      _ = try? codec.encode(
        rows: task * chunk..<(task + 1) * chunk, of: tensor, importance: nil, search: search)
    }
  }

  /// 10^9 bytes a second of `body`, called for every chunk of rows.
  private func rate(_ body: (Int) -> Void) -> Double {
    let tasks = tensor.shape.rows / chunk
    var best = Double.infinity
    var total = 0.0
    while total < seconds {
      let start = CodecBenchmark.now()
      pool.run(taskCount: tasks, body)
      let elapsed = CodecBenchmark.now() - start
      best = min(best, elapsed)
      total += elapsed
    }
    return Double(tensor.byteCount) / best * 1e-9
  }

  private static func now() -> Double {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }
}
