import Codecs
import Kernels
import TensorCore
import TestSupport
import Testing

/// Compact bf16 panels hold the values of plain ones, and kernels give the same bits for both.
struct CompactPanelTests {
  /// Sizes that become compact, with the tails that there are: of panels, of fours of panels, of steps of 8 columns, of blocks of 256.
  static let sizes: [(rows: Int, columns: Int)] = [
    (1, 72), (16, 80), (17, 100), (64, 128), (70, 129), (130, 260), (96, 515), (67, 768),
  ]

  /// Zeros, subnormals and numbers that are tiny beside all others.
  static let tiny: [UInt16] = [0x0000, 0x8000, 0x0001, 0x8001, 0x007F, 0x0080, 0x8A12]

  /// Numbers of 8 exponents; every seventh row near one end of the range, zeros, or subnormals. Up to `planted` elements of each panel
  /// are tiny: in the first and the last column, several in one column, several in one step.
  static func elements(rows: Int, columns: Int, planted: Int, seed: UInt64) -> [UInt16] {
    var generator = SeededGenerator(seed: seed)
    var elements = generator.normals(rows * columns).enumerated().map { index, value -> UInt16 in
      let scale: Float =
        switch index / columns % 7 {
        case 2: 0x1p110
        case 4: 0x1p-125
        case 5: 0
        case 6: 0x1p-131
        default: 0.02
        }
      let wide = value.magnitude < 0.05 ? 0.05 : min(value.magnitude, 6)
      return SmallFloat.bfloat16((value < 0 ? -wide : wide) * scale)
    }
    let places = [(0, 0), (0, 3), (columns - 1, 1), (columns - 1, 15), (8, 8), (9, 8), (15, 1), (40, 9)]
    for panel in 0..<(rows + 15) / 16 {
      for index in 0..<planted {
        let (place, lane) = places[(index + panel) % places.count]
        let column = (place + index / places.count * 24) % columns
        let row = panel * 16 + lane
        // Nothing is tiny beside zeros and subnormals.
        if row < rows, row % 7 < 4 {
          elements[row * columns + column] = tiny[(index + 3 * panel) % tiny.count]
        }
      }
    }
    return elements
  }

  static func weight(_ elements: [UInt16], rows: Int, columns: Int) throws -> Weight {
    let bytes = elements.flatMap { [UInt8(truncatingIfNeeded: $0), UInt8($0 >> 8)] }
    return .dense(try Tensor(bytes: bytes, elementType: .bf16, shape: Shape([rows, columns])))
  }

  static func pair(
    rows: Int, columns: Int, planted: Int, seed: UInt64
  ) throws -> (plain: PanelMatrix, compact: PanelMatrix) {
    let elements = elements(rows: rows, columns: columns, planted: planted, seed: seed)
    let weight = try weight(elements, rows: rows, columns: columns)
    let plain = try PanelMatrix(packing: [weight])
    let compact = try PanelMatrix(packing: [weight], compacts: true)
    #expect(plain.encoding == .bf16 && compact.encoding == .compactBF16 && compact.isExact)
    #expect(compact.byteCount * 8 <= plain.byteCount * 7, "\(rows)x\(columns)")
    return (plain, compact)
  }

  @Test(arguments: instructionSets, [0, 1, 2]) func bitsAreThoseOfPlainPanels(
    set: InstructionSet, planted: Int
  ) throws {
    let table = try table(set)
    var generator = SeededGenerator(seed: 31)
    for (rows, columns) in Self.sizes {
      // As many exceptions as a panel may have, but for one.
      let count = planted == 2 ? columns / 32 - 1 : planted
      let (plain, compact) = try Self.pair(
        rows: rows, columns: columns, planted: count, seed: UInt64(rows + planted))
      let bias = generator.normals(rows)
      for tokens in 1...30 {
        let x = generator.normals(tokens * columns)
        let useBias = tokens % 2 == 1 ? bias : nil
        let expected = LinearTests.run(table, plain, x, bias: useBias, tokens: tokens, activations: .float32)
        let found = LinearTests.run(
          table, compact, x, bias: useBias, tokens: tokens, activations: .float32, threads: 1 + tokens % 2)
        #expect(bits(found) == bits(expected), "\(rows)x\(columns), \(tokens) tokens, \(count) exceptions")
      }
    }
  }

  /// The references are plain loops, so that not only both kernels are wrong together.
  @Test(arguments: instructionSets) func bitsAreThoseOfLoops(set: InstructionSet) throws {
    var generator = SeededGenerator(seed: 32)
    for (rows, columns) in Self.sizes {
      let (_, compact) = try Self.pair(rows: rows, columns: columns, planted: 1, seed: 33)
      let values = PanelMatrixTests.decoded(compact)
      for tokens in [1, 3, 26] {
        let x = generator.normals(tokens * columns)
        let expected = LinearTests.reference(
          x, values, bias: nil, rows: rows, columns: columns, tokens: tokens)
        let found = LinearTests.run(
          try table(set), compact, x, bias: nil, tokens: tokens, activations: .float32)
        #expect(bits(found) == bits(expected), "\(rows)x\(columns), \(tokens) tokens")
      }
    }
  }

  @Test func rowsSurvivePacking() throws {
    for (rows, columns) in Self.sizes {
      for planted in [0, 1, columns / 32 - 1] {
        let elements = Self.elements(rows: rows, columns: columns, planted: planted, seed: 34)
        let whole = try Self.weight(elements, rows: rows, columns: columns)
        let values = elements.map { Float(bitPattern: UInt32($0) << 16) }
        let compact = try PanelMatrix(packing: [whole], compacts: true)
        #expect(bits(PanelMatrixTests.decoded(compact)) == bits(values), "\(rows)x\(columns)")
        // The same from threads, from parts that end inside of panels, and from bytes that come from outside.
        let part = rows / 3
        let parts = try [0..<part, part..<rows].filter { !$0.isEmpty }.map { range in
          try Self.weight(
            Array(elements[range.lowerBound * columns..<range.upperBound * columns]), rows: range.count,
            columns: columns)
        }
        let joined = try PanelMatrix(
          packing: parts, pool: ThreadPool(threadCount: 2, isPinned: false), compacts: true)
        #expect(Self.bytes(joined) == Self.bytes(compact))
        let again = try Self.adopted(Self.bytes(compact), rows: rows, columns: columns)
        #expect(bits(PanelMatrixTests.decoded(again)) == bits(values), "\(rows)x\(columns)")
      }
    }
  }

  /// Where there are many exceptions, or little to gain, panels stay plain.
  @Test func otherMatricesStayPlain() throws {
    let (rows, columns) = (40, 128)
    let usual = Self.elements(rows: rows, columns: columns, planted: 0, seed: 35)
    func encoding(_ change: (inout [UInt16]) -> Void) throws -> PanelEncoding {
      var elements = usual
      change(&elements)
      let weight = try Self.weight(elements, rows: rows, columns: columns)
      let matrix = try PanelMatrix(packing: [weight], compacts: true)
      #expect(
        bits(PanelMatrixTests.decoded(matrix)) == bits(elements.map { Float(bitPattern: UInt32($0) << 16) }))
      return matrix.encoding
    }
    #expect(try encoding { _ in } == .compactBF16)
    #expect(try encoding { for k in 0..<4 { $0[35 * columns + k * 20] = 0 } } == .compactBF16)
    #expect(try encoding { for k in 0..<5 { $0[35 * columns + k * 20] = 0 } } == .bf16)
    for value: UInt16 in [0x7F80, 0xFF80, 0x7FC0, 0x7F81] {
      #expect(try encoding { $0[7] = value } == .bf16, "\(value)")
    }
    var generator = SeededGenerator(seed: 36)
    for columns in [1, 8, 20] {
      let weight = try LinearTests.dense(.bf16, rows: 20, columns: columns, &generator)
      #expect(try PanelMatrix(packing: [weight], compacts: true).encoding == .bf16)
    }
    for type in [ElementType.f32, .f16] {
      let weight = try LinearTests.dense(type, rows: 20, columns: 128, &generator)
      #expect(try PanelMatrix(packing: [weight], compacts: true).encoding.rawValue == type.name)
    }
    let empty = try Self.weight([], rows: 0, columns: 128)
    #expect(try PanelMatrix(packing: [empty], compacts: true).byteCount == 0)
  }

  static func bytes(_ matrix: PanelMatrix) -> [UInt8] { unsafe matrix.storage.withBytes { unsafe Array($0) } }

  static func adopted(_ bytes: [UInt8], rows: Int, columns: Int) throws -> PanelMatrix {
    try PanelMatrix(
      encoding: .compactBF16, rows: rows, columns: columns, blockLength: 0, hasZeros: false,
      storage: Tensor(bytes: bytes, elementType: .u8, shape: Shape([bytes.count])))
  }

  /// Panels from outside whose exceptions are too many, elsewhere or in disorder, and sizes that no panels have.
  @Test func damagedPanelsAreRefused() throws {
    let (rows, columns) = (40, 256)
    let (_, compact) = try Self.pair(rows: rows, columns: columns, planted: 8, seed: 37)
    let good = Self.bytes(compact)
    let panel = good.count / 3
    #expect(panel == 64 + 64 + 32 * 192 && good[panel + 16] == 6)
    _ = try Self.adopted(good, rows: rows, columns: columns)
    func exception(_ index: Int) -> Int { panel + 64 + 8 * index }
    let damages: [(String, (inout [UInt8]) -> Void)] = [
      ("more than there is room for", { $0[panel + 16] = 9 }),
      ("far more", { $0[panel + 19] = 0xFF }),
      ("a column behind the last", { $0[exception(5) + 1] = 1 }),
      ("a column far behind", { $0[exception(5) + 3] = 0x80 }),
      ("a row of another panel", { $0[exception(2) + 4] = 16 }),
      ("a row far away", { $0[exception(2) + 5] = 0xFF }),
      ("twice the same", { for i in 0..<8 { $0[exception(1) + i] = $0[exception(0) + i] } }),
      (
        "disorder",
        { bytes in
          for i in 0..<8 { bytes.swapAt(exception(0) + i, exception(5) + i) }
        }
      ),
    ]
    for (name, damage) in damages {
      var bytes = good
      damage(&bytes)
      #expect(
        throws: KernelsError.invalidLayout(
          "the exceptions of panel 1 do not fit, lie outside of it or are not in order"), "\(name)"
      ) { try Self.adopted(bytes, rows: rows, columns: columns) }
    }
    for count in [0, 64, good.count - 64, good.count - 192, good.count + 64, good.count + 1, 3 * 32 * 192] {
      let bytes = Array(good.prefix(count)) + [UInt8](repeating: 0, count: max(0, count - good.count))
      #expect(throws: KernelsError.self, "\(count) bytes") {
        try Self.adopted(bytes, rows: rows, columns: columns)
      }
    }
    for (rows, columns) in [(-1, 8), (1, 1 << 33), (1 << 40, 1 << 30), (Int.max, 8), (0, 8)] {
      #expect(throws: KernelsError.self, "\(rows)x\(columns)") {
        try Self.adopted(good, rows: rows, columns: columns)
      }
    }
  }
}
