import Codecs
import Testing

@Suite struct CodecSchemeTests {
  @Test func everySchemeIsTheCodecThatItsNameSays() throws {
    let names = try CodecScheme.all.map {
      "\($0.name) \(try CodecScheme.codec(named: $0.name).canonicalName)"
    }
    #expect(names == ["W4A16 int4-g128-sym", "W4A16_ASYM int4-g128-asym", "W8A16 int8-gall-sym"])
    #expect(try CodecScheme.codec(named: "w4a16").canonicalName == "int4-g128-sym")
  }

  @Test func unknownSchemesAreRefusedWithTheKnownOnes() {
    #expect(throws: CodecError.unknownCodec("W5A16", known: ["W4A16", "W4A16_ASYM", "W8A16"])) {
      try CodecScheme.codec(named: "W5A16")
    }
  }
}
