import Codecs
import Testing

@Suite struct CodecSchemeTests {
  @Test func everySchemeIsTheCodecThatItsNameSays() throws {
    let names = try CodecScheme.all.map {
      "\($0.name) \(try CodecScheme.codec(named: $0.name).canonicalName)"
    }
    #expect(
      names == [
        "W4A16 int4-g128-sym", "W4A16_ASYM int4-g128-asym", "W8A16 int8-gall-sym", "W8A8 int8-gall-sym",
        "INT8 int8-gall-sym", "W4A8 int4-g128-sym", "W4A4 int4-g128-sym", "W3A16 int3-g128-sym",
        "W2A16 int2-g64-asym",
        "NVFP4A16 nvfp4", "MXFP4 mxfp4", "MXFP4A16 mxfp4", "FP8 fp8_e4m3-tensor",
        "FP8_DYNAMIC fp8_e4m3-channel", "FP8_BLOCK fp8_e4m3-b128", "FP8A16 fp8_e4m3-channel",
        "FP8A16_TENSOR fp8_e4m3-tensor", "FP8A16_BLOCK fp8_e4m3-b128", "NF4 nf4-g64", "FP4 fp4-g64",
      ])
    let inputs = CodecScheme.all.filter { $0.activations != nil }.map {
      "\($0.name) \($0.activations?.description ?? "")"
    }
    #expect(
      inputs == [
        "W8A8 int8-token", "INT8 int8-token", "W4A8 int8-token", "W4A4 int4-token", "FP8 fp8-tensor",
        "FP8_DYNAMIC fp8-token",
        "FP8_BLOCK fp8-group",
      ])
    #expect(try CodecScheme.codec(named: "w4a16").canonicalName == "int4-g128-sym")
  }

  @Test func unknownSchemesAreRefusedWithTheKnownOnes() {
    #expect(throws: CodecError.unknownCodec("W5A16", known: CodecScheme.all.map(\.name))) {
      try CodecScheme.codec(named: "W5A16")
    }
  }
}
