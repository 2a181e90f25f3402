import CKernels
import Codecs

/// Activations as int8: per token and block of columns a scale, codes and the sum of the codes.
///
/// `value ~ scale * code`, `scale = absmax / 127`, codes rounded to nearest even; columns padded with zeros to whole
/// blocks. Filled by ``KernelTable/quantizeActivations(_:blockLength:into:pool:)``; several linear layers over the same
/// input share one.
public final class QuantizedRows: @unchecked Sendable {
  /// Tokens.
  public internal(set) var rows = 0
  /// Values of a token.
  public internal(set) var columns = 0
  /// Columns that share a scale.
  public internal(set) var blockLength = 0
  private let codes = AlignedBuffer()
  private let scales = AlignedBuffer()
  private let sums = AlignedBuffer()
  private let fittedCodes = AlignedBuffer()
  private let excess = AlignedBuffer()
  private let starts = AlignedBuffer()
  private let fittedSums = AlignedBuffer()
  private let centers = AlignedBuffer()
  private var isFitted = false

  /// Creates an empty one.
  public init() {}

  /// Bytes in use.
  public var byteCount: Int {
    codes.byteCount + scales.byteCount + sums.byteCount + fittedCodes.byteCount + excess.byteCount
      + starts.byteCount + fittedSums.byteCount + centers.byteCount
  }

  /// Blocks of a token.
  public var blockCount: Int { blockLength == 0 ? 0 : (columns + blockLength - 1) / blockLength }

  /// Makes room.
  func prepare(rows: Int, columns: Int, blockLength: Int) {
    self.rows = rows
    self.columns = columns
    self.blockLength = blockLength
    isFitted = false
    unsafe _ = codes.reserve(byteCount: rows * codeStride)
    unsafe _ = scales.reserve(byteCount: rows * blockCount * 4)
    unsafe _ = sums.reserve(byteCount: rows * blockCount * 4)
  }

  var codeStride: Int { blockCount * blockLength }

  /// Rows from which on it pays to fit codes.
  private static let fittingRows = 16

  /// Columns whose products are added up in 16 bits.
  private static let centerColumns = 16

  /// A pair in 32 may have excess; where there are more, products of the codes as they are take less time.
  private var excessRoom: Int { max(rows * blockLength / 64, 1) }

  /// Makes the codes once more, as products of pairs in 16 bits need them, once for all that read these rows.
  /// - Parameter function: nil where no products need them.
  func fit(_ function: ck_fit_fn?, pool: ThreadPool) {
    guard let function = unsafe function, !isFitted, rows >= QuantizedRows.fittingRows else { return }
    isFitted = true
    unsafe _ = fittedCodes.reserve(byteCount: rows * codeStride)
    unsafe _ = excess.reserve(byteCount: blockCount * excessRoom * MemoryLayout<ck_excess>.stride)
    unsafe _ = starts.reserve(byteCount: blockCount * (rows + 1) * 4)
    unsafe _ = fittedSums.reserve(byteCount: blockCount * rows * MemoryLayout<ck_fitted_row>.stride)
    unsafe _ = centers.reserve(byteCount: rows * codeStride / QuantizedRows.centerColumns * 4)
    let view = unsafe view
    let length = blockLength
    pool.run(taskCount: blockCount) { block in
      unsafe function(
        view.codes + block * length, view.code_stride, view.fitted_rows, length,
        UnsafeMutablePointer(mutating: view.fitted + block * view.fitted_rows * length),
        UnsafeMutablePointer(mutating: view.excess + block * view.excess_room), view.excess_room,
        UnsafeMutablePointer(mutating: view.starts + block * (view.fitted_rows + 1)),
        UnsafeMutablePointer(mutating: view.fitted_sums + block * view.fitted_rows),
        UnsafeMutablePointer(
          mutating: view.centers + block * view.fitted_rows * length / QuantizedRows.centerColumns))
    }
  }

  /// Blocks of columns whose codes were fitted, and the pairs in them that had excess; for tests.
  package var fitting: (blocks: Int, pairs: Int) {
    guard isFitted else { return (0, 0) }
    let view = unsafe view
    let counts = (0..<blockCount).compactMap { block -> Int? in
      let starts = unsafe view.starts + block * (rows + 1)
      return unsafe starts[0] < 0 ? nil : Int(starts[rows])
    }
    return (counts.count, counts.reduce(0, +))
  }

  /// The memory as C sees it.
  var view: ck_quantized {
    unsafe ck_quantized(
      codes: codes.reserve(byteCount: 0).assumingMemoryBound(to: Int8.self),
      scales: scales.reserve(byteCount: 0).assumingMemoryBound(to: Float.self),
      sums: sums.reserve(byteCount: 0).assumingMemoryBound(to: Int32.self),
      code_stride: codeStride, block_stride: blockCount,
      fitted: isFitted ? fittedCodes.reserve(byteCount: 0).assumingMemoryBound(to: Int8.self) : nil,
      excess: excess.reserve(byteCount: 0).assumingMemoryBound(to: ck_excess.self),
      starts: starts.reserve(byteCount: 0).assumingMemoryBound(to: Int32.self),
      excess_room: excessRoom,
      fitted_sums: fittedSums.reserve(byteCount: 0).assumingMemoryBound(to: ck_fitted_row.self),
      centers: centers.reserve(byteCount: 0).assumingMemoryBound(to: Int32.self),
      fitted_rows: rows, first_row: 0)
  }

  /// Where a row goes.
  func target(_ row: Int) -> (
    codes: UnsafeMutablePointer<Int8>, scales: UnsafeMutablePointer<Float>, sums: UnsafeMutablePointer<Int32>
  ) {
    unsafe (
      codes.reserve(byteCount: 0).assumingMemoryBound(to: Int8.self) + row * codeStride,
      scales.reserve(byteCount: 0).assumingMemoryBound(to: Float.self) + row * blockCount,
      sums.reserve(byteCount: 0).assumingMemoryBound(to: Int32.self) + row * blockCount
    )
  }

  /// The values that the codes of a row stand for.
  public func decoded(row: Int) -> [Float] {
    precondition(row >= 0 && row < rows)
    let from = unsafe target(row)
    return (0..<columns).map { unsafe from.scales[$0 / blockLength] * Float(from.codes[$0]) }
  }
}

extension ck_quantized {
  /// The rows from one on.
  func rows(from row: Int) -> ck_quantized {
    var part = unsafe self
    unsafe part.codes += row * code_stride
    unsafe part.scales += row * block_stride
    unsafe part.sums += row * block_stride
    unsafe part.first_row += row
    return unsafe part
  }
}

/// What an operation besides writing rows of floats makes of each while it is in the cache: its codes, or rounded floats.
public struct RowRounding: Sendable {
  /// How rows are rounded.
  public let input: InputQuantization
  /// Columns of a block: 32, 64 or 128.
  public let blockLength: Int
  /// Where the codes go; nil for FP8, whose values take the place of the row.
  public let target: QuantizedRows?

  /// Rows as `input`, which has no outlier columns, says, in blocks of the linear layers that read them.
  public init(_ input: InputQuantization, blockLength: Int, into target: QuantizedRows?) {
    precondition((input.scheme.kind == .fp8) == (target == nil), "integers have codes, FP8 has floats")
    self.input = input
    self.blockLength = blockLength
    self.target = target
  }
}

/// A rounding at work.
@safe
struct RowRounder {
  private let rounding: RowRounding
  private let columns: Int
  private let scaleColumns: Int
  private let function: ck_quantize_fn?
  private let roundE4M3: ck_round_e4m3_fn?

  /// Makes room for `rows`.
  init(_ rounding: RowRounding, rows: Int, columns: Int, _ functions: ck_table) {
    self.rounding = rounding
    self.columns = columns
    scaleColumns = rounding.input.scheme.scaleColumns(of: columns, block: rounding.blockLength)
    unsafe function = functions.quantize
    unsafe roundE4M3 = functions.round_e4m3
    rounding.target?.prepare(rows: rows, columns: columns, blockLength: rounding.blockLength)
  }

  /// Makes the codes of one row, or rounds it; several threads may.
  func round(_ x: UnsafeMutablePointer<Float>, _ row: Int) {
    guard let target = rounding.target else {
      unsafe roundE4M3?(x, columns, scaleColumns, rounding.input.scale ?? 0, x)
      return
    }
    let to = unsafe target.target(row)
    unsafe function?(
      x, columns, rounding.blockLength, scaleColumns, rounding.input.scheme.largestCode,
      rounding.input.scale ?? 0, rounding.input.scheme.outlierThreshold, to.codes, to.scales, to.sums)
  }
}
