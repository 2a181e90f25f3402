import TensorCore
import TestSupport
import Testing

@Suite struct CheckedArithmeticTests {
  @Test func productsAreExactOrRefused() throws {
    #expect(try Checked.product([]) == 1)
    #expect(try Checked.product([3, 5, 7]) == 105)
    #expect(try Checked.product([Int.max, 1]) == Int.max)
    #expect(try Checked.product([0, 9]) == 0)
    #expect(try Checked.product(1 << 31, 1 << 31) == 1 << 62)
    #expect(try Checked.product(0, Int.max) == 0)
    for factors in [[1 << 32, 1 << 31], [Int.max, 2], [1 << 21, 1 << 21, 1 << 21]] {
      #expect(throws: TensorCoreError.self) { try Checked.product(factors) }
    }
    #expect(throws: TensorCoreError.overflow("9223372036854775807 * 2")) { try Checked.product(Int.max, 2) }
  }

  @Test func zeroDoesNotHideOverflowOrNegatives() {
    #expect(throws: TensorCoreError.self) { try Checked.product([0, Int.max, Int.max]) }
    #expect(throws: TensorCoreError.self) { try Checked.product([Int.max, Int.max, 0]) }
    #expect(throws: TensorCoreError.negative(-1)) { try Checked.product([0, -1]) }
    #expect(throws: TensorCoreError.negative(Int.min)) { try Checked.product([Int.min]) }
    #expect(throws: TensorCoreError.negative(-2)) { try Checked.product(-2, 3) }
    #expect(throws: TensorCoreError.negative(-3)) { try Checked.product(2, -3) }
  }

  @Test func sumsAreExactOrRefused() throws {
    #expect(try Checked.sum(Int.max - 1, 1) == Int.max)
    #expect(throws: TensorCoreError.self) { try Checked.sum(Int.max, 1) }
    #expect(throws: TensorCoreError.negative(-1)) { try Checked.sum(-1, 1) }
    #expect(throws: TensorCoreError.negative(-1)) { try Checked.sum(1, -1) }
  }

  @Test func unsignedIntegersFitOrAreRefused() throws {
    #expect(try Checked.int(0) == 0)
    #expect(try Checked.int(UInt64(Int.max)) == Int.max)
    #expect(throws: TensorCoreError.self) { try Checked.int(UInt64(Int.max) + 1) }
    #expect(throws: TensorCoreError.self) { try Checked.int(UInt64.max) }
  }

  @Test func quotientsAreRoundedUp() {
    var generator = SeededGenerator(seed: 1)
    for _ in 0..<200 {
      let dividend = Int.random(in: 0...1000, using: &generator)
      let divisor = Int.random(in: 1...50, using: &generator)
      let quotient = Checked.ceilingQuotient(dividend, divisor)
      #expect(quotient * divisor >= dividend && (quotient - 1) * divisor < dividend)
    }
    #expect(Checked.ceilingQuotient(Int.max, 1) == Int.max)
    #expect(Checked.ceilingQuotient(Int.max, 2) == 1 << 62)
  }

  @Test func shapesAreChecked() throws {
    let shape = try Shape([2, 3, 4])
    #expect(shape.elementCount == 24 && shape.rank == 3 && shape.columns == 4 && shape.rows == 6)
    #expect(shape.description == "[2, 3, 4]")
    #expect(shape == [2, 3, 4])
    let scalar = try Shape([])
    #expect(scalar.elementCount == 1 && scalar.rank == 0 && scalar.columns == 1 && scalar.rows == 1)
    let empty = try Shape([1 << 40, 0])
    #expect(empty.elementCount == 0 && empty.rows == 1 << 40)
    #expect(throws: TensorCoreError.self) { try Shape([1 << 62, 4]) }
    #expect(throws: TensorCoreError.self) { try Shape([0, 1 << 62, 4]) }
    #expect(throws: TensorCoreError.negative(-1)) { try Shape([-1]) }
  }

  @Test func byteCountsAreChecked() throws {
    for type in ElementType.allCases {
      #expect(try type.byteCount(elements: 8) == type.bitWidth)
      #expect(throws: TensorCoreError.self) { try type.byteCount(elements: Int.max) }
      #expect(throws: TensorCoreError.self) { try type.byteCount(elements: -8) }
      #expect(ElementType(rawValue: type.rawValue) == type)
      #expect(type.name == type.rawValue.lowercased())
    }
    #expect(try ElementType.f4.byteCount(elements: 2) == 1)
    #expect(throws: TensorCoreError.self) { try ElementType.f4.byteCount(elements: 3) }
    #expect(throws: TensorCoreError.self) { try ElementType.f6e2m3.byteCount(elements: 3) }
  }

  @Test func matricesOwnAsManyValuesAsTheyHaveElements() throws {
    var matrix = try FloatMatrix(rows: 2, columns: 3, values: [1, 2, 3, 4, 5, 6])
    #expect(matrix[1, 0] == 4)
    matrix[0, 2] = .nan
    #expect(matrix.firstNonFinite == 2)
    #expect(FloatMatrix(zeros: 2, 2).firstNonFinite == nil)
    #expect(throws: TensorCoreError.self) { try FloatMatrix(rows: 2, columns: 3, values: [1]) }
    #expect(throws: TensorCoreError.self) { try FloatMatrix(rows: Int.max, columns: 3, values: []) }
    #expect(throws: TensorCoreError.self) { try FloatMatrix(rows: -1, columns: 0, values: []) }
  }
}
