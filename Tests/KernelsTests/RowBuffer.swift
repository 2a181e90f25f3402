import Kernels
import Testing

/// Rows with a stride of their own and guards between them, for tests.
///
/// The memory is never freed, so that `RowBuffer(...).view` may outlive the buffer; the test process ends soon.
@safe
final class RowBuffer {
  static let guardValue: Float = -12345.678
  let rows: Int
  let columns: Int
  let stride: Int
  private let memory: UnsafeMutablePointer<Float>
  /// Elements before the first row, so that rows are not aligned.
  private let lead = 3

  init(rows: Int, columns: Int, padding: Int = 5) {
    self.rows = rows
    self.columns = columns
    stride = columns + padding
    unsafe memory = .allocate(capacity: max(rows * stride + lead + 8, 1))
    unsafe memory.initialize(repeating: RowBuffer.guardValue, count: rows * stride + lead + 8)
  }

  convenience init(_ values: [Float], rows: Int, columns: Int, padding: Int = 5) {
    self.init(rows: rows, columns: columns, padding: padding)
    precondition(values.count == rows * columns)
    for row in 0..<rows {
      for column in 0..<columns { unsafe view[row][column] = values[row * columns + column] }
    }
  }

  var view: Rows { unsafe Rows(memory + lead, rows: rows, columns: columns, stride: stride) }

  var values: [Float] { (0..<rows).flatMap { row(at: $0) } }

  func row(at index: Int) -> [Float] { (0..<columns).map { unsafe view[index][$0] } }

  /// Whether nothing was written beside the rows.
  var isGuarded: Bool {
    for index in 0..<rows * stride + lead + 8 {
      let inside = index - lead
      if inside >= 0, inside < rows * stride, inside % stride < columns { continue }
      if unsafe memory[index] != RowBuffer.guardValue { return false }
    }
    return true
  }
}

/// Bit patterns, so that comparison is exact and NaN equals itself.
func bits(_ values: [Float]) -> [UInt32] { values.map { $0.isNaN ? 0x7FC0_0000 : $0.bitPattern } }

/// The largest |a - b| / (|b| + floor).
func relativeError(_ values: [Float], _ expected: [Double], floor: Double = 1e-6) -> Double {
  zip(values, expected).map { abs(Double($0) - $1) / (abs($1) + floor) }.max() ?? 0
}

/// Tables that this processor has, by name, for parameterized tests.
let instructionSets = InstructionSet.available

func table(_ set: InstructionSet) throws -> KernelTable { try #require(KernelTable.table(for: set)) }
