import Codecs
import Kernels
import TensorCore
import TestSupport
import Testing

struct PanelMatrixTests {
  static func decoded(_ matrix: PanelMatrix) -> [Float] {
    var values = [Float](repeating: 0, count: matrix.rows * matrix.columns)
    unsafe values.withUnsafeMutableBufferPointer { buffer in
      guard let start = buffer.baseAddress else { return }
      for row in 0..<matrix.rows { unsafe matrix.decodeRow(row, into: start + row * matrix.columns) }
    }
    return values
  }

  @Test(arguments: 2...8, [true, false])
  func codesSurvivePacking(bitCount: Int, isSymmetric: Bool) throws {
    var generator = SeededGenerator(seed: 10)
    for (group, block) in [(32, 32), (64, 64), (96, 32), (128, 128), (256, 128), (nil, 128)] as [(Int?, Int)]
    {
      for (rows, columns) in [(1, 1), (16, 96), (35, 200), (18, 257)] {
        let weight = try LinearTests.codes(
          bits: bitCount, group: group, isSymmetric: isSymmetric, rows: rows, columns: columns, &generator)
        let matrix = try PanelMatrix(packing: [weight])
        #expect(matrix.encoding == (bitCount <= 4 ? .q4 : .q8))
        #expect(matrix.hasZeros == !isSymmetric)
        if let group, group < columns { #expect(matrix.blockLength == block) }
        #expect(matrix.isExact)
        #expect(try bits(PanelMatrixTests.decoded(matrix)) == bits(weight.decoded().values))
        let again = try PanelMatrix(
          encoding: matrix.encoding, rows: rows, columns: columns, blockLength: matrix.blockLength,
          hasZeros: matrix.hasZeros, storage: matrix.storage)
        #expect(PanelMatrixTests.decoded(again) == PanelMatrixTests.decoded(matrix))
      }
    }
  }

  @Test func severalWeightsBecomeOne() throws {
    var generator = SeededGenerator(seed: 11)
    let columns = 160
    let lists: [([Weight], PanelEncoding)] = [
      (
        [
          try LinearTests.dense(.bf16, rows: 20, columns: columns, &generator),
          try LinearTests.dense(.bf16, rows: 7, columns: columns, &generator),
        ], .bf16
      ),
      (
        [
          try LinearTests.dense(.bf16, rows: 20, columns: columns, &generator),
          try LinearTests.dense(.f16, rows: 7, columns: columns, &generator),
          try LinearTests.dense(.f32, rows: 40, columns: columns, &generator),
        ], .f32
      ),
      (
        [
          try LinearTests.codes(bits: 4, group: 32, isSymmetric: true, rows: 9, columns: columns, &generator),
          try LinearTests.codes(
            bits: 3, group: 64, isSymmetric: false, rows: 30, columns: columns, &generator),
        ], .q4
      ),
      (
        [
          try LinearTests.codes(bits: 4, group: 32, isSymmetric: true, rows: 9, columns: columns, &generator),
          try LinearTests.codes(
            bits: 8, group: 64, isSymmetric: false, rows: 3, columns: columns, &generator),
          try LinearTests.codes(
            bits: 6, group: nil, isSymmetric: true, rows: 3, columns: columns, &generator),
        ], .q8
      ),
      (
        [
          try LinearTests.codes(bits: 4, group: 32, isSymmetric: true, rows: 9, columns: columns, &generator),
          try LinearTests.dense(.bf16, rows: 20, columns: columns, &generator),
        ], .f32
      ),
    ]
    for (weights, encoding) in lists {
      let matrix = try PanelMatrix(packing: weights, pool: ThreadPool(threadCount: 2, isPinned: false))
      #expect(matrix.encoding == encoding)
      let expected = try weights.flatMap { try $0.decoded().values }
      #expect(bits(PanelMatrixTests.decoded(matrix)) == bits(expected))
    }
  }

  @Test func wideScalesAreRoundedOrDecoded() throws {
    var generator = SeededGenerator(seed: 12)
    let values = generator.normals(16 * 64)
    for (factor, encoding) in [(Float(1), PanelEncoding.q4), (1e-9, .f32), (1e9, .f32)] {
      let codec = try IntegerGroupCodec(bits: 4, groupSize: 32, scaleType: .f32)
      let matrix = try FloatMatrix(rows: 16, columns: 64, values: values.map { $0 * factor })
      let weight = Weight.encoded(try codec.encode(matrix, importance: nil, search: .extremes))
      let packed = try PanelMatrix(packing: [weight])
      #expect(packed.encoding == encoding)
      #expect(packed.isExact == (encoding == .f32))
      let expected = try weight.decoded().values.map(Double.init)
      #expect(relativeError(PanelMatrixTests.decoded(packed), expected, floor: 1e-30) <= 0x1p-11)
    }
  }

  @Test func badDescriptionsAreRefused() throws {
    let storage = try Tensor(bytes: [UInt8](repeating: 0, count: 1024), elementType: .u8, shape: [1024])
    _ = try PanelMatrix(
      encoding: .f32, rows: 3, columns: 16, blockLength: 0, hasZeros: false, storage: storage)
    #expect(throws: KernelsError.storageSize(expected: 2048, found: 1024)) {
      try PanelMatrix(
        encoding: .f32, rows: 17, columns: 16, blockLength: 0, hasZeros: false, storage: storage)
    }
    for (encoding, rows, columns, block, zeros) in [
      (PanelEncoding.q4, 1, 16, 48, false), (.q4, 1, 16, 0, false), (.e4m3, 1, 16, 48, false),
      (.e4m3, 1, 16, 32, true), (.f32, 1, 16, 32, false),
      (.f32, -1, 16, 0, false),
      (.bf16, 1, 16, 0, true), (.f32, Int.max, Int.max, 0, false), (.f32, 1 << 40, 1 << 40, 0, false),
    ] {
      #expect(throws: KernelsError.self) {
        try PanelMatrix(
          encoding: encoding, rows: rows, columns: columns, blockLength: block, hasZeros: zeros,
          storage: storage)
      }
    }
    let narrow = Weight.dense(try Tensor([Float](repeating: 0, count: 4), shape: [2, 2]))
    let wide = Weight.dense(try Tensor([Float](repeating: 0, count: 6), shape: [2, 3]))
    #expect(throws: KernelsError.columnMismatch(expected: 2, found: 3)) {
      try PanelMatrix(packing: [narrow, wide])
    }
    #expect(throws: KernelsError.notAMatrix(shape: "nothing")) { try PanelMatrix(packing: []) }
    let vector = Weight.dense(try Tensor([Float](repeating: 0, count: 4), shape: [4]))
    #expect(throws: KernelsError.notAMatrix(shape: "[4]")) { try PanelMatrix(packing: [vector]) }
  }
}
