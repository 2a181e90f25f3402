import Codecs
import OrderedCollections
import TensorCore
import TestSupport
import Testing

/// FP8, FP4, NF4 and MLX's codecs against the programs that define them.
@Suite struct FloatingCodecTests {
  @Test(
    arguments: [
      ("e4m3", SmallFloat.e4m3), ("e5m2", SmallFloat.e5m2), ("e2m1", SmallFloat.e2m1),
    ] as [(String, @Sendable (Float) -> UInt8)])
  func smallFloatsRoundAsTheReferenceDoes(name: String, round: @Sendable (Float) -> UInt8) throws {
    let points = try GoldenSet.floats(name + ".points")
    #expect(points.count > 300)
    #expect(try points.map(round) == GoldenSet.bytes(name + ".points.codes"))
  }

  @Test(arguments: [2, 3, 4, 5, 6, 8], [ElementType.f32, .f16, .bf16])
  func affineExtremesAreMLXBitForBit(bits: Int, type: ElementType) throws {
    let codec = try AffineCodec(bits: bits, groupSize: 64, scaleType: type)
    let encoded = try codec.encode(
      GoldenSet.matrix("affine-\(type.name).source"), importance: nil, search: .extremes)
    let name = "affine\(bits)-\(type.name)"
    #expect(try #require(encoded.planes["codes"]).bytes == GoldenSet.bytes(name + ".codes"))
    let lines = try GoldenSet.floats(name + ".lines")
    let half = lines.count / 2
    #expect(try #require(encoded.planes["scales"]).floats() == Array(lines[..<half]))
    #expect(try #require(encoded.planes["biases"]).floats() == Array(lines[half...]))
  }

  @Test func affineSearchIsBetterThanTheRange() throws {
    let matrix = try TestMatrix.normal(4, 256, seed: 5)
    for bits in 2...8 {
      let codec = try AffineCodec(bits: bits)
      let errors = try [ScaleSearch.extremes, .standard].map {
        try codec.encode(matrix, importance: nil, search: $0).decoded().squaredError(matrix)
      }
      #expect(errors[1] < errors[0], "\(bits) bits")
      if bits <= 4 { #expect(errors[1] < 0.9 * errors[0], "\(bits) bits") }
    }
  }

  @Test(arguments: ["mxfp4", "mxfp8", "nvfp4"])
  func microscalingDecodesAsMLXDoes(name: String) throws {
    let codec = try CodecRegistry.codec(named: name)
    var planes = [
      "codes": try GoldenSet.tensor("mlx-\(name).codes"),
      "scales": try GoldenSet.tensor("mlx-\(name).scales"),
    ]
    if name == "nvfp4" { planes["global_scale"] = try Tensor([Float(1)], shape: [1]) }
    let matrix = try EncodedMatrix(
      codec: codec, rows: 4, columns: 512,
      planes: .init(uniqueKeysWithValues: planes.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }))
    let expected = try GoldenSet.floats("mlx-\(name).values")
    #expect(matrix.decoded().values == expected)
    #expect(matrix.decodedRow(3) == Array(expected[1536...]))
  }

  @Test(arguments: ["mxfp4", "mxfp8", "nvfp4", "nf4-g64", "fp4-g32", "nf4-gall-f16", "fp8_e4m3-b128"])
  func searchesAreNoWorseThanExtremes(name: String) throws {
    let codec = try CodecRegistry.codec(canonicalName: name)
    let matrix = try TestMatrix.normal(5, 192, seed: 6)
    let importance = (0..<192).map { Float($0 % 7) }
    let errors = try [ScaleSearch.extremes, .standard].map {
      try codec.encode(matrix, importance: importance, search: $0).decoded().squaredError(
        matrix, importance: importance)
    }
    #expect(errors[1] <= errors[0], "\(name)")
  }

  @Test(arguments: Float8Codec.Format.allCases, ["tensor", "channel", "b128", "b32"])
  func fp8RoundsToTheNearestCodeOfItsScale(format: Float8Codec.Format, granularity: String) throws {
    let name = "fp8_\(format.rawValue)-\(granularity)"
    let codec = try #require(try CodecRegistry.codec(canonicalName: name) as? Float8Codec)
    let matrix = try TestMatrix.normal(133, 200, seed: 7)
    let encoded = try codec.encode(matrix, importance: nil, search: .extremes)
    let decoded = encoded.decoded()
    let scales = try #require(encoded.planes["scales"]).floats()
    let grid = codec.values.filter(\.isFinite)
    for row in stride(from: 0, to: 133, by: 12) {
      for column in stride(from: 0, to: 200, by: 3) {
        let scale =
          switch granularity {
          case "tensor": scales[0]
          case "channel": scales[row]
          case "b32": scales[row / 32 * 7 + column / 32]
          default: scales[row / 128 * 2 + column / 128]
          }
        let value = matrix[row, column]
        let nearest = grid.map { abs($0 * scale - value) }.min() ?? 0
        #expect(abs(abs(decoded[row, column] - value) - nearest) <= 1e-6 * scale)
      }
    }
    #expect(decoded.values.allSatisfy { $0.isFinite })
    #expect(encoded.planes["scales"]?.shape.dimensions.count == (granularity == "tensor" ? 1 : 2))
  }

  @Test(arguments: [Float.greatestFiniteMagnitude, 0x1p-140, 0])
  func fp8NeverMakesNaN(value: Float) throws {
    for name in ["fp8_e4m3-tensor", "fp8_e5m2-channel", "fp8_e4m3-b128-bf16"] {
      var matrix = FloatMatrix(zeros: 3, 5)
      matrix[1, 2] = value
      matrix[2, 2] = -value / 2
      let codec = try CodecRegistry.codec(canonicalName: name)
      for search in [ScaleSearch.extremes, .standard] {
        let decoded = try codec.encode(matrix, importance: nil, search: search).decoded()
        #expect(decoded.values.allSatisfy { $0.isFinite }, "\(name)")
        #expect(abs(decoded[1, 2] - value) <= value * 0.07 + 1e-38, "\(name)")
      }
    }
  }

  @Test(arguments: FourBitFloatCodec.Kind.allCases)
  func fourBitFloatsTakeTheNearestLevel(kind: FourBitFloatCodec.Kind) throws {
    let codec = try FourBitFloatCodec(kind, groupSize: 24)
    let matrix = try TestMatrix.normal(3, 67, seed: 8)
    let encoded = try codec.encode(matrix, importance: nil, search: .extremes)
    let decoded = encoded.decoded()
    let scales = try #require(encoded.planes["scales"]).floats()
    #expect(Set(kind.values).count == (kind == .nf4 ? 16 : 15))
    for row in 0..<3 {
      for group in 0..<3 {
        let columns = group * 24..<min(group * 24 + 24, 67)
        let extreme = columns.map { abs(matrix[row, $0]) }.max() ?? 0
        #expect(scales[row * 3 + group] == extreme)
        for column in columns {
          let nearest = kind.values.map { abs($0 * extreme - matrix[row, column]) }.min() ?? 0
          #expect(abs(abs(decoded[row, column] - matrix[row, column]) - nearest) < 1e-7)
        }
      }
    }
  }

  @Test func nvfp4ScalesAreAsItsWritersChooseThem() throws {
    let matrix = try TestMatrix.normal(4, 64, seed: 9)
    let encoded = try NVFP4Codec().encode(matrix, importance: nil, search: .extremes)
    let extreme = matrix.values.map(abs).max() ?? 0
    let global = try #require(encoded.planes["global_scale"]).floats()[0]
    #expect(global == extreme / (6 * 448))
    let scales = try #require(encoded.planes["scales"]).bytes
    for group in scales.indices {
      let absmax = matrix.values[16 * group..<16 * group + 16].map(abs).max() ?? 0
      #expect(scales[group] == SmallFloat.e4m3(absmax / 6 / global))
    }
    #expect(scales.max() == 0x7E)
    let other = try NVFP4Codec().encode(matrix, globalScale: 2 * global, importance: nil, search: .extremes)
    #expect(try #require(other.planes["global_scale"]).floats()[0] == 2 * global)
  }
}
