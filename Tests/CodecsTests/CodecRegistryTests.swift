import Codecs
import TensorCore
import TestSupport
import Testing

@Suite struct CodecRegistryTests {
  @Test func everyEntryMakesCodecsThatRoundTrip() throws {
    #expect(!CodecRegistry.entries.isEmpty)
    #expect(Set(CodecRegistry.entries.map(\.name)).count == CodecRegistry.entries.count)
    let matrix = try TestMatrix.normal(5, 512, seed: 4)
    for entry in CodecRegistry.entries where !entry.name.hasPrefix("iq1_") {
      #expect(!entry.summary.isEmpty)
      #expect(throws: Never.self) { try entry.make(CodecParameters()) }
      for parameters in [
        CodecParameters(), CodecParameters(groupSize: -1), CodecParameters(groupSize: 32, isSymmetric: false),
        CodecParameters(groupSize: 64, scaleType: .bf16),
      ] {
        guard let codec = try? entry.make(parameters) else { continue }
        #expect(
          try CodecRegistry.codec(canonicalName: codec.canonicalName).canonicalName == codec.canonicalName)
        let encoded = try codec.encode(matrix, importance: nil, search: .standard)
        let again = try codec.encode(encoded.decoded(), importance: nil, search: .standard)
        let (first, second) = (encoded.decoded(), again.decoded())
        let energy = matrix.values.reduce(0) { $0 + $1 * $1 }
        let error = zip(matrix.values, first.values).reduce(Float(0)) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        let drift = zip(first.values, second.values).reduce(Float(0)) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        #expect(
          error < (codec.bitsPerWeight(columns: 512) < 2.1 ? 0.9 : 0.25) * energy, "\(codec.canonicalName)")
        #expect(drift <= error, "\(codec.canonicalName)")
      }
    }
  }

  @Test func moreBitsMakeLessError() throws {
    let matrix = try TestMatrix.normal(8, 256, seed: 6)
    var last = Float.infinity
    for bits in 2...8 {
      let decoded = try CodecRegistry.codec(named: "int\(bits)").encode(
        matrix, importance: nil, search: .standard)
      let error = zip(matrix.values, decoded.decoded().values).reduce(Float(0)) { $0 + abs($1.0 - $1.1) }
      #expect(error < 0.7 * last)
      last = error
    }
  }

  @Test func canonicalNamesReadBack() throws {
    for bits in 2...8 {
      for groupSize: Int? in [nil, 2, 32, 128, 1 << 24] {
        for isSymmetric in [true, false] {
          for scaleType in [ElementType.f16, .bf16, .f32] {
            let codec = try IntegerGroupCodec(
              bits: bits, groupSize: groupSize, isSymmetric: isSymmetric, scaleType: scaleType)
            let read = try CodecRegistry.codec(canonicalName: codec.canonicalName)
            #expect(read as? IntegerGroupCodec == codec)
          }
        }
      }
    }
    #expect(try CodecRegistry.codec(named: "int4").canonicalName == "int4-g128-sym")
    let whole = try CodecRegistry.codec(
      named: "int8", CodecParameters(groupSize: -1, isSymmetric: false, scaleType: .bf16))
    #expect(whole.canonicalName == "int8-gall-asym-bf16")
  }

  @Test(
    arguments: [
      "", "-", "int4", "int4-g128", "int4-sym", "int4-sym-g128", "int4-g128-sym-", "int4-g128-sym-f16",
      "int4-g0-sym",
      "int4-g1-sym", "int4-g-1-sym", "int4-g+128-sym", "int4-g0128-sym", "int4-g99999999999999999999-sym",
      "int4-g16777217-sym", "int4-g128-sym-sym", "INT4-g128-sym", "int4-g128-sym-f64", "int4 -g128-sym",
    ])
  func otherSpellingsAreRefused(name: String) {
    #expect(throws: CodecError.self) { try CodecRegistry.codec(canonicalName: name) }
  }

  @Test(arguments: ["int1", "int9", "int", "q4", ""])
  func unknownNamesAreRefusedWithTheKnownOnes(name: String) throws {
    let error = try #require(throws: CodecError.self) { try CodecRegistry.codec(named: name) }
    #expect(error == .unknownCodec(name, known: CodecRegistry.entries.map(\.name)))
    #expect(error.diagnostic.code == "codec.unknown")
    #expect(error.diagnostic.status == .usage)
    #expect(error.description.contains("int2, int3, int4, int5, int6, int7, int8"))
  }

  @Test(arguments: [-2, 0, 1, 1 << 24 + 1, Int.max, Int.min])
  func groupSizesOutOfRangeAreRefused(size: Int) throws {
    let error = try #require(throws: CodecError.self) {
      try CodecRegistry.codec(named: "int4", CodecParameters(groupSize: size))
    }
    #expect(error.diagnostic.code == "codec.parameters")
    #expect(error.description.contains("group size \(size)"))
  }

  @Test func bitsAndScaleTypesOutOfRangeAreRefused() {
    for bits in [-1, 0, 1, 9, 64, Int.max] {
      #expect(throws: CodecError.self) { try IntegerGroupCodec(bits: bits, groupSize: 32) }
    }
    for type in ElementType.allCases where ![.f16, .bf16, .f32].contains(type) {
      #expect(throws: CodecError.self) { try IntegerGroupCodec(bits: 4, groupSize: 32, scaleType: type) }
    }
  }
}
