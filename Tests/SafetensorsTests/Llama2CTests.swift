import Llama2C
import OrderedCollections
import SafeIO
import TensorCore
import TestSupport
import Testing

@Suite("llama2.c files") struct Llama2CTests {
  private func int32(_ value: Int) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } }

  /// A file whose float number k holds the value k.
  private func model(_ header: [Int], floatCount: Int) -> [UInt8] {
    header.flatMap(int32) + (0..<floatCount).flatMap { int32(Int(Float($0).bitPattern)) }
  }

  // dim 4, hidden 3, layers 2, heads 2, key-value heads 1, vocabulary 5, context 6.
  private let header = [4, 3, 2, 2, 1, 5, 6]
  // 20 + 8 + 32 + 16 + 16 + 32 + 8 + 24 + 24 + 24 + 4 + 12
  private let floatCount = 220

  private func open(_ bytes: [UInt8]) throws(Llama2CError) -> Llama2CCheckpoint {
    try Llama2CCheckpoint(region: MemoryRegion(copying: bytes), path: "m.bin")
  }

  @Test("finds every weight at its place") func places() throws {
    let checkpoint = try open(model(header, floatCount: floatCount))
    let expected: [(String, Shape, Float)] = [
      ("model.embed_tokens.weight", [5, 4], 0), ("model.layers.0.input_layernorm.weight", [4], 20),
      ("model.layers.1.input_layernorm.weight", [4], 24),
      ("model.layers.0.self_attn.q_proj.weight", [4, 4], 28),
      ("model.layers.1.self_attn.q_proj.weight", [4, 4], 44),
      ("model.layers.0.self_attn.k_proj.weight", [2, 4], 60),
      ("model.layers.1.self_attn.v_proj.weight", [2, 4], 84),
      ("model.layers.0.self_attn.o_proj.weight", [4, 4], 92),
      ("model.layers.0.post_attention_layernorm.weight", [4], 124),
      ("model.layers.0.mlp.gate_proj.weight", [3, 4], 132),
      ("model.layers.0.mlp.down_proj.weight", [4, 3], 156),
      ("model.layers.1.mlp.up_proj.weight", [3, 4], 192),
      ("model.norm.weight", [4], 204),
    ]
    for (name, shape, first) in expected {
      #expect(checkpoint.tensors[name]?.shape == shape, "\(name)")
      #expect(try checkpoint.tensors[name]?.floats(elements: 0..<1) == [first], "\(name)")
    }
    #expect(checkpoint.tensors.count == 2 + 9 * 2)
    #expect(checkpoint.configuration["tie_word_embeddings"] == true)
    #expect(checkpoint.configuration["rope_interleaved"] == true)
    #expect(checkpoint.configuration["num_key_value_heads"] == 1)
  }

  @Test("reads a classifier of its own") func classifier() throws {
    let checkpoint = try open(model([4, 3, 2, 2, 1, -5, 6], floatCount: floatCount + 20))
    #expect(try checkpoint.tensors["lm_head.weight"]?.floats(elements: 0..<1) == [220])
    #expect(checkpoint.configuration["vocab_size"] == 5)
    #expect(checkpoint.configuration["tie_word_embeddings"] == false)
  }

  @Test("refuses headers and sizes that cannot be") func hostile() {
    for index in 0..<7 {
      for value in [0, -1, Int(Int32.min), Int(Int32.max), 7] {
        var changed = header
        changed[index] = value
        if changed == header { continue }
        #expect(throws: Llama2CError.self, "\(changed)") { try open(model(changed, floatCount: floatCount)) }
      }
    }
    #expect(throws: Llama2CError.self) { try open([Int](repeating: 0x7FFF_FFFE, count: 7).flatMap(int32)) }
    #expect(throws: Llama2CError.version(file: "m.bin", version: 1)) {
      try open([0x616B_3432, 1, 1, 1, 1, 1, 1].flatMap(int32))
    }
    #expect(throws: Llama2CError.size(file: "m.bin", expected: 908, found: 912)) {
      try open(model(header, floatCount: floatCount + 1))
    }
  }

  @Test("never traps on a damaged file") func damage() {
    let bytes = model(header, floatCount: floatCount)
    for length in 0..<bytes.count { #expect((try? open(Array(bytes.prefix(length)))) == nil) }
    for index in 0..<28 {
      for bit in 0..<8 {
        var damaged = bytes
        damaged[index] ^= 1 << bit
        _ = try? open(damaged)
      }
    }
  }

  @Test("reads vocabularies and refuses damaged ones") func vocabulary() throws {
    let bytes = int32(3) + [0, 0, 0x80, 0x3F] + int32(2) + [0xC3, 0xA9] + [0, 0, 0, 0xC0] + int32(0)
    let vocabulary = try Llama2CVocabulary(bytes: bytes)
    #expect(vocabulary.pieces == [[0xC3, 0xA9], []])
    #expect(vocabulary.scores == [1, -2])
    #expect(vocabulary.maximumPieceByteCount == 3)
    #expect(throws: Llama2CError.self) { try Llama2CVocabulary(bytes: bytes, count: 3) }
    for length in 0..<bytes.count where length != 4 && length != 14 {
      #expect(throws: Llama2CError.self) { try Llama2CVocabulary(bytes: Array(bytes.prefix(length))) }
    }
    for length in [-1, Int(Int32.min), Int(Int32.max)] {
      #expect(throws: Llama2CError.self) {
        try Llama2CVocabulary(bytes: int32(3) + [0, 0, 0, 0] + int32(length) + [1])
      }
    }
  }

  @Test("reads a real model", .enabled(if: SharedData.isAvailable, "the reference data is not here"))
  func real() throws {
    let path = SharedData.path("models/stories260K/stories260K.bin")
    let checkpoint = try Llama2CCheckpoint.open(path)
    #expect(checkpoint.tensors.values.reduce(0) { $0 + $1.shape.elementCount } == 260_032)
    #expect(Llama2CCheckpoint.isCheckpoint(path: path))
    let vocabulary = try Llama2CVocabulary(path: SharedData.path("models/stories260K/tok512.bin"), count: 512)
    #expect(vocabulary.pieces[1] == Array("\n<s>\n".utf8))
    #expect(vocabulary.pieces.map(\.count).max() == vocabulary.maximumPieceByteCount)
    #expect(!Llama2CCheckpoint.isCheckpoint(path: SharedData.path("models/stories260K/tok512.bin")))
    let norm = try #require(checkpoint.tensors["model.norm.weight"])
    #expect(try norm.floats().allSatisfy { $0 > 0 && $0 < 100 })
  }
}
