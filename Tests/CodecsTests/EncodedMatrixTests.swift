import Codecs
import OrderedCollections
import TensorCore
import TestSupport
import Testing

@Suite struct EncodedMatrixTests {
  private func ordered(_ isSymmetric: Bool, seed: UInt64) throws -> EncodedMatrix {
    let codec = try IntegerGroupCodec(
      bits: 3, groupSize: 8, isSymmetric: isSymmetric, scaleType: .bf16, hasGroupIndex: true)
    let plain = try codec.encode(TestMatrix.normal(6, 44, seed: 9), importance: nil, search: .extremes)
    var generator = SeededGenerator(seed: seed)
    var order = (0..<44).map { Int32($0 / 8) }
    order.shuffle(using: &generator)
    var planes = plain.planes
    planes["group_index"] = try Tensor(order, shape: [44])
    return try EncodedMatrix(codec: codec, rows: 6, columns: 44, planes: planes)
  }

  @Test(arguments: [true, false])
  func groupIndexSaysWhichScaleAColumnHas(isSymmetric: Bool) throws {
    let matrix = try ordered(isSymmetric, seed: 60)
    #expect(matrix.codec.canonicalName == "int3-g8-\(isSymmetric ? "sym" : "asym")-gidx-bf16")
    #expect(
      try CodecRegistry.codec(canonicalName: matrix.codec.canonicalName) as? IntegerGroupCodec
        == matrix.codec as? IntegerGroupCodec)
    let codes = try ReferenceDecoder.codes(of: matrix, bits: 3)
    let index = try #require(matrix.planes["group_index"]).integers()
    let scales = try #require(matrix.planes["scales"]).floats()
    let zeros = try matrix.planes["zeros"]?.integers()
    let decoded = matrix.decoded()
    for row in 0..<6 {
      for column in 0..<44 {
        let group = row * 6 + Int(index[column])
        let zero = zeros.map { Int($0[group]) } ?? 4
        #expect(decoded[row, column] == scales[group] * Float(codes[row * 44 + column] - zero))
      }
    }
  }

  @Test func groupIndexOutOfRangeIsRefused() throws {
    let matrix = try ordered(true, seed: 61)
    for wild: Int32 in [-1, 6, .max, .min] {
      var planes = matrix.planes
      var order = [Int32](repeating: 0, count: 44)
      order[43] = wild
      planes["group_index"] = try Tensor(order, shape: [44])
      #expect(throws: CodecError.self) {
        try EncodedMatrix(codec: matrix.codec, rows: 6, columns: 44, planes: planes)
      }
    }
    var planes = matrix.planes
    planes["group_index"] = nil
    #expect(throws: CodecError.self) {
      try EncodedMatrix(codec: matrix.codec, rows: 6, columns: 44, planes: planes)
    }
  }

  @Test func joinedAndSelectedRows() throws {
    let matrix = try ordered(false, seed: 62)
    let top = try matrix.selecting(rows: [4, 0])
    let rest = try matrix.selecting(rows: [5, 5, 1])
    let all = try EncodedMatrix.joined(rows: [top, rest])
    let decoded = matrix.decoded()
    #expect(all.rows == 5 && all.columns == 44)
    for (index, row) in [4, 0, 5, 5, 1].enumerated() {
      for column in 0..<44 { #expect(all.decoded()[index, column] == decoded[row, column]) }
    }
    #expect(try matrix.selecting(rows: []).rows == 0)
    #expect(try EncodedMatrix.joined(rows: [matrix]).rows == 6)
  }

  @Test func partsThatDifferAreNotJoined() throws {
    let matrix = try ordered(false, seed: 63)
    let other = try ordered(false, seed: 64)
    let symmetric = try ordered(true, seed: 63)
    let narrow = try GGMLCodec(.q4_0).encode(FloatMatrix(zeros: 2, 32), importance: nil, search: .extremes)
    let wide = try GGMLCodec(.q4_0).encode(FloatMatrix(zeros: 2, 64), importance: nil, search: .extremes)
    for parts in [[], [matrix, other], [matrix, symmetric], [narrow, wide]] {
      #expect(throws: CodecError.self) { try EncodedMatrix.joined(rows: parts) }
    }
  }
}
