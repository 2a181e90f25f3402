import Codecs
import Testing

@Suite struct KVFormatTests {
  @Test func namesMakeFormats() {
    #expect(KVFormat(name: "int8") == KVFormat(keys: .int8))
    #expect(KVFormat(name: "int8,int4") == KVFormat(keys: .int8, values: .int4, rotation: .keys))
    #expect(KVFormat(name: "f16") == .f16)
    #expect(
      KVFormat(name: "kv4") == KVFormat(keys: .int4, rotation: .both, keyScales: .channel, recent: 64))
    #expect(KVFormat(name: "KVFP8")?.isStatic == true)
    for name in ["", "int9", "int8,", ",int8", "int8,int8,int8", "KV5"] {
      #expect(KVFormat(name: name) == nil, "\(name)")
    }
    for scheme in CacheScheme.all { #expect(scheme.format.problem == nil && scheme.format.isQuantized) }
  }

  @Test func schemesEndOtherNames() {
    func split(_ name: String) -> String? {
      CacheScheme.split(name).map { "\($0.rest)|\($0.scheme.name)" }
    }
    #expect(split("W4A8KV4") == "W4A8|KV4")
    #expect(split("w8a8-kv8") == "W8A8|KV8")
    #expect(split("FP8KVFP8") == "FP8|KVFP8")
    #expect(split("FP8_DYNAMIC_KV8") == "FP8_DYNAMIC|KV8")
    #expect(split("KV8") == "|KV8")
    #expect(split("-KV8") == nil && split("W8A8") == nil && split("KV8A") == nil)
  }

  @Test func problemsAreNamed() {
    #expect(KVFormat(keys: .int4, keyScales: .tensor).problem != nil)
    #expect(KVFormat(keys: .int8, rotation: .keys, keyScales: .tensor).problem != nil)
    #expect(KVFormat(keys: .int8, recent: 1 << 21).problem != nil)
    #expect(KVFormat(keys: .f16, keyScales: .tensor).problem == nil, "nothing is quantized")
    let format = KVFormat(keys: .fp8, keyScales: .tensor)
    func problem(_ keys: [Float], _ values: [Float] = [1], layer: Int = 0) -> String? {
      CacheQuantization(format, scales: [layer: KVScales(keys: keys, values: values)]).problem(heads: [0: 4])
    }
    #expect(problem([0.5]) == nil && problem([1, 2, 3, 4]) == nil)
    for bad: [Float] in [[], [1, 2], [0], [-1], [.nan], [.infinity], [1e-30], [300], [1, 2, 3, 0]] {
      #expect(problem(bad) != nil, "\(bad)")
      #expect(problem([1], bad) != nil, "\(bad)")
    }
    #expect(problem([1], layer: 1) != nil)
    #expect(CacheQuantization(format).problem(heads: [0: 4]) != nil)
    #expect(CacheQuantization(KVFormat(keys: .int8)).problem(heads: [0: 4]) == nil)
    let both = CacheQuantization(
      format,
      scales: [0: KVScales(keys: [1], values: [1]), 3: KVScales(keys: [1], values: [1])])
    #expect(both.problem(heads: [0: 4])?.contains("layer 3") == true)
    let dynamic = CacheQuantization(KVFormat(keys: .int8), scales: [0: KVScales(keys: [1], values: [1])])
    #expect(dynamic.problem(heads: [0: 4]) != nil)
  }
}
