import Codecs
import Kernels
import OrderedCollections
import TensorCore
import TestSupport
import Testing

/// What becomes of codecs other than integer groups.
struct CodecPackingTests {
  private func encoded(
    _ codec: any Codec, rows: Int = 21, columns: Int = 512, factor: Float = 0.05, seed: UInt64 = 5
  ) throws -> Weight {
    var generator = SeededGenerator(seed: seed)
    let values = generator.normals(rows * columns).map { $0 * factor }
    let matrix = try FloatMatrix(rows: rows, columns: columns, values: values)
    return .encoded(try codec.encode(matrix, importance: nil, search: .standard))
  }

  @Test(arguments: [(GGMLCodec.Format.q4_0, PanelEncoding.q4), (.q5_0, .q8), (.q8_0, .q8)])
  func codesOfBlocksStayCodes(format: GGMLCodec.Format, encoding: PanelEncoding) throws {
    for columns in [64, 96, 512] {
      let weight = try encoded(GGMLCodec(format), columns: columns)
      let panels = try PanelMatrix(packing: [weight])
      #expect(panels.encoding == encoding && panels.isExact && panels.blockLength == 32)
      #expect(try bits(PanelMatrixTests.decoded(panels)) == bits(weight.decoded().values))
    }
    let together = [
      try encoded(GGMLCodec(format)), try encoded(try IntegerGroupCodec(bits: 3, groupSize: 64)),
    ]
    let panels = try PanelMatrix(packing: together)
    #expect(panels.encoding == encoding && panels.isExact)
    #expect(
      try bits(PanelMatrixTests.decoded(panels)) == bits(together.flatMap { try $0.decoded().values }))
  }

  @Test func floatCodesStayCodes() throws {
    for granularity in [Float8Codec.Granularity.tensor, .channel, .block(128), .block(64), .block(96)] {
      for type in [ElementType.f32, .bf16] {
        let codec = try Float8Codec(.e4m3, granularity: granularity, scaleType: type)
        let weights = [try encoded(codec, columns: 300), try encoded(codec, rows: 40, columns: 300, seed: 6)]
        let panels = try PanelMatrix(packing: weights)
        #expect(panels.encoding == .e4m3 && panels.isExact && panels.isFromCodes)
        // A byte a value, and a scale for each row and block.
        let blocks = (300 + panels.blockLength - 1) / panels.blockLength
        #expect(panels.byteCount == 64 * (304 + 4 * blocks) || panels.byteCount == 64 * (300 + 4 * blocks))
        #expect(
          try bits(PanelMatrixTests.decoded(panels)) == bits(weights.flatMap { try $0.decoded().values }))
      }
    }
  }

  /// NaN, scales that float32 can hardly hold, other blocks and E5M2 take the way of all other codecs.
  @Test func floatCodesThatDoNotFitAreDecoded() throws {
    let codec = try Float8Codec(.e4m3, granularity: .channel)
    guard case .encoded(let plain) = try encoded(codec) else { return }
    var planes = plain.planes
    var codes = try #require(planes["codes"]).integers().map { UInt8($0) }
    codes[77] = 0xFF
    planes["codes"] = try Tensor(bytes: codes, elementType: .u8, shape: Shape([21, 512]))
    let broken = Weight.encoded(try EncodedMatrix(codec: codec, rows: 21, columns: 512, planes: planes))
    #expect(try PanelMatrix(packing: [broken]).encoding == .f32)
    var tiny = plain.planes
    tiny["scales"] = try Tensor([Float](repeating: 0x1p-120, count: 21), shape: [21, 1])
    let small = Weight.encoded(try EncodedMatrix(codec: codec, rows: 21, columns: 512, planes: tiny))
    #expect(try PanelMatrix(packing: [small]).encoding == .f32)
    for other in [try Float8Codec(.e4m3, granularity: .block(80)), try Float8Codec(.e5m2)] {
      #expect(try PanelMatrix(packing: [encoded(other)]).encoding != .e4m3)
    }
  }

  @Test(arguments: [GGMLCodec.Format.q4_1, .q5_1, .q2_k, .q3_k, .q4_k, .q5_k, .q6_k])
  func otherValuesBecomeHalves(format: GGMLCodec.Format) throws {
    let weight = try encoded(GGMLCodec(format))
    let values = try weight.decoded().values
    let panels = try PanelMatrix(packing: [weight])
    #expect(panels.encoding == .f16)
    #expect(!panels.isExact)
    #expect(bits(PanelMatrixTests.decoded(panels)) == bits(values.map { Float(Float16($0)) }))
  }

  @Test func valuesBeyondHalvesBecomeFloats() throws {
    for factor: Float in [1e-4, 2e4] {
      let weight = try encoded(GGMLCodec(.q4_k), factor: factor)
      let panels = try PanelMatrix(packing: [weight])
      #expect(panels.encoding == .f32 && panels.isExact, "\(factor)")
      #expect(try bits(PanelMatrixTests.decoded(panels)) == bits(weight.decoded().values))
    }
    let mixed = [
      try encoded(GGMLCodec(.q4_k)),
      Weight.dense(try Tensor([Float](repeating: 0.1, count: 512), shape: [1, 512])),
    ]
    #expect(try PanelMatrix(packing: mixed).encoding == .f32)
  }

  @Test func oddGroupsAndOrderedColumnsAreDecoded() throws {
    let odd = try encoded(IntegerGroupCodec(bits: 4, groupSize: 48), columns: 160)
    #expect(try PanelMatrix(packing: [odd]).encoding == .f16)
    let codec = try IntegerGroupCodec(bits: 4, groupSize: 32, isSymmetric: false, hasGroupIndex: true)
    guard case .encoded(let plain) = try encoded(codec, columns: 128) else { return }
    var planes = plain.planes
    var generator = SeededGenerator(seed: 3)
    var order = (0..<128).map { Int32($0 / 32) }
    order.shuffle(using: &generator)
    planes["group_index"] = try Tensor(order, shape: [128])
    let weight = Weight.encoded(
      try EncodedMatrix(codec: codec, rows: plain.rows, columns: 128, planes: planes))
    let values = try weight.decoded().values
    #expect(values != plain.decoded().values)
    let panels = try PanelMatrix(packing: [weight])
    #expect(panels.encoding == .f16)
    #expect(bits(PanelMatrixTests.decoded(panels)) == bits(values.map { Float(Float16($0)) }))
  }
}
