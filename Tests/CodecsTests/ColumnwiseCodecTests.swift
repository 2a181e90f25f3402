import Codecs
import TensorCore
import TestSupport
import Testing

@Suite struct ColumnwiseCodecTests {
  static let names = [
    "int2-g32-asym", "int3-g40-sym", "int4-g128-sym", "int5-gall-asym", "int8-g64-sym-bf16", "q4_0", "q4_1",
    "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs", "nf4-g64", "fp4-g32",
    "mxfp4", "nvfp4", "affine3-g64", "affine4-g32-bf16", "fp8_e4m3-channel", "fp8_e4m3-tensor",
    "fp8_e5m2-b128",
  ]

  private func matrix(_ seed: UInt64, columns: Int = 512) throws -> FloatMatrix {
    var generator = SeededGenerator(seed: seed)
    return try FloatMatrix(rows: 5, columns: columns, values: generator.normals(5 * columns).map { $0 * 0.1 })
  }

  private func bytes(_ matrix: EncodedMatrix) -> [String: [UInt8]] {
    Dictionary(
      uniqueKeysWithValues: matrix.planes.map { ($0.key, unsafe $0.value.withBytes { unsafe Array($0) }) })
  }

  @Test(arguments: names) func codesAndGridsAreTheDecodedValues(name: String) throws {
    let codec = try #require(try CodecRegistry.codec(canonicalName: name) as? any ColumnwiseCodec)
    let matrix = try matrix(3)
    let layout = try #require(codec.columnLayout(columns: 512))
    #expect(layout.fitLength % layout.gridLength == 0 || layout.fitLength >= 512)
    for search in [ScaleSearch.extremes, .standard] {
      let encoded = try codec.encode(matrix, importance: nil, search: search)
      let (grids, codes, decoded) = (codec.grids(of: encoded), codec.codes(of: encoded), encoded.decoded())
      let count = layout.gridCount(columns: 512)
      #expect(grids.count == 5 * count)
      for index in codes.indices {
        let grid = grids[index / 512 * count + index % 512 / layout.gridLength]
        let value =
          codec.levels.areSteps
          ? grid.value(Float(codes[index])) : grid.scale * codec.levels.values[Int(codes[index])]
        #expect(abs(value - decoded.values[index]) <= 1e-6 * max(1, abs(value)), "\(name) at \(index)")
      }
    }
  }

  @Test(arguments: names) func replacingCodesByThemselvesChangesNothing(name: String) throws {
    let codec = try #require(try CodecRegistry.codec(canonicalName: name) as? any ColumnwiseCodec)
    let encoded = try codec.encode(matrix(4), importance: nil, search: .standard)
    let again = try codec.assemble([encoded], rows: 5, columns: 512, codes: codec.codes(of: encoded))
    #expect(again.decoded().values == encoded.decoded().values)
    // NVFP4 has two zeros, of which one is written.
    if name != "nvfp4" { #expect(bytes(again) == bytes(encoded)) }
    // The highest code everywhere is stored and read back.
    let highest = codec.grids(of: encoded)
    let layout = try #require(codec.columnLayout(columns: 512))
    let codes = (0..<5 * 512).map { index in
      let grid = highest[index / 512 * layout.gridCount(columns: 512) + index % 512 / layout.gridLength]
      let top = codec.levels.areSteps ? grid.maximumCode : Float(codec.levels.values.count - 1)
      return index % 3 == 0 ? UInt8(top) : 0
    }
    #expect(codec.codes(of: try codec.assemble([encoded], rows: 5, columns: 512, codes: codes)) == codes)
  }

  @Test(arguments: names) func fitsLieSideBySide(name: String) throws {
    let codec = try #require(try CodecRegistry.codec(canonicalName: name) as? any ColumnwiseCodec)
    let matrix = try matrix(5)
    let length = try #require(codec.columnLayout(columns: 512)).fitLength
    let shared = codec.sharedScale(of: matrix)
    var fits: [EncodedMatrix] = []
    var codes = [UInt8](repeating: 0, count: 5 * 512)
    var values = codes.map { _ in Float(0) }
    for start in stride(from: 0, to: 512, by: length) {
      let range = start..<min(start + length, 512)
      var part = FloatMatrix(zeros: 5, range.count)
      for row in 0..<5 { for column in range { part[row, column - start] = matrix[row, column] } }
      let fit = try codec.fit(part, sharedScale: shared, importance: nil, search: .standard)
      let (partCodes, partValues) = (codec.codes(of: fit), fit.decoded())
      for row in 0..<5 {
        for column in range {
          codes[row * 512 + column] = partCodes[row * range.count + column - start]
          values[row * 512 + column] = partValues[row, column - start]
        }
      }
      fits.append(fit)
    }
    let joined = try codec.assemble(fits, rows: 5, columns: 512, codes: codes)
    #expect(joined.decoded().values == values)
  }
}
