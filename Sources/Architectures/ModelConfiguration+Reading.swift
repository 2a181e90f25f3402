import OrderedCollections
import SafeIO

/// Keys of the sizes, for families that call them otherwise; the first spelling is the usual one.
struct SizeKeys {
  var hidden = ["hidden_size"]
  /// Nil when the family computes it.
  var intermediate: [String]? = ["intermediate_size"]
  var layers = ["num_hidden_layers"]
  var heads = ["num_attention_heads"]
  /// Nil when there are as many as query heads.
  var kvHeads: [String]? = ["num_key_value_heads"]
  /// Nil when it is hidden / heads.
  var headDimension: String? = "head_dim"
  var context = ["max_position_embeddings"]
  /// Tokens that the model was made for when the configuration does not say.
  var defaultContext = 2048
  /// Key and value heads when the configuration does not say; nil for as many as query heads.
  var defaultKVHeads: Int?
  /// Columns of a head when the configuration does not say; nil for hidden / heads.
  var defaultHeadDimension: Int?
}

extension ModelConfiguration {
  /// Reads the sizes.
  ///
  /// Bounds are far above every model there is and far below what could overflow: 10 000 layers, 2^20 columns,
  /// 2^26 tokens of vocabulary.
  /// - Throws: ``ArchitectureError`` naming the key.
  init(_ reader: inout ConfigurationReader, keys: SizeKeys = .init()) throws(ArchitectureError) {
    for spellings in [keys.hidden, keys.layers, keys.heads, keys.context] {
      try reader.requireAgreement(spellings)
    }
    let vocabulary = try reader.integer("vocab_size", in: 1...1 << 26)
    let hidden = try reader.integer(reader.key(among: keys.hidden), in: 1...1 << 20)
    let heads = try reader.integer(reader.key(among: keys.heads), in: 1...1 << 14)
    let inner = try keys.intermediate.map { (spellings) throws(ArchitectureError) in
      try reader.integer(reader.key(among: spellings), in: 1...1 << 22)
    }
    let layers = try reader.integer(reader.key(among: keys.layers), in: 1...10_000)
    let kvHeads = try Self.kvHeads(&reader, keys, heads: heads)
    let width = try Self.headDimension(&reader, keys, hidden: hidden, heads: heads)
    self.init(
      vocabularySize: vocabulary, hiddenSize: hidden, intermediateSize: inner ?? 4 * hidden,
      layerCount: layers, headCount: heads, kvHeadCount: kvHeads, headDimension: width,
      contextLength: try reader.integer(
        reader.key(among: keys.context), in: 1...1 << 31, default: keys.defaultContext),
      bosToken: try reader.tokens("bos_token_id", vocabularySize: vocabulary).first,
      eosTokens: try reader.tokens("eos_token_id", vocabularySize: vocabulary))
  }

  private static func kvHeads(
    _ reader: inout ConfigurationReader, _ keys: SizeKeys, heads: Int
  ) throws(ArchitectureError) -> Int {
    guard let spellings = keys.kvHeads else { return heads }
    let key = reader.key(among: spellings)
    let count = try reader.integer(
      key, in: 1...1 << 14, default: reader.has(key) ? heads : keys.defaultKVHeads ?? heads)
    guard heads % count == 0 else {
      throw .configuration(
        key: reader.path(key), expected: "a divisor of num_attention_heads \(heads)", found: "\(count)")
    }
    return count
  }

  private static func headDimension(
    _ reader: inout ConfigurationReader, _ keys: SizeKeys, hidden: Int, heads: Int
  ) throws(ArchitectureError) -> Int {
    if let key = keys.headDimension, let width = try reader.optionalInteger(key, in: 1...1 << 14) {
      return width
    }
    if let width = keys.defaultHeadDimension { return width }
    guard hidden % heads == 0, hidden / heads <= 1 << 14 else {
      throw .configuration(
        key: reader.path(keys.heads[0]), expected: "a divisor of hidden_size \(hidden)", found: "\(heads)")
    }
    return hidden / heads
  }
}

extension WeightCatalog {
  /// Checks that the tensors of numbered layers are those of layers 0..<count, and at most `spare` more, before anything is
  /// built.
  /// - Throws: ``ArchitectureError`` naming a tensor of a layer that should not be there, or the last layer if it is
  ///   not there at all.
  func checkLayers(prefix: String, count: Int, spare: Int) throws(ArchitectureError) {
    var hasLast = false
    for name in entries.keys where name.hasPrefix(prefix) {
      guard let number = Int(name.dropFirst(prefix.count).prefix { $0 != "." }) else { continue }
      if number == count - 1 { hasLast = true }
      guard number < count + spare else { throw .extraLayer(name, layerCount: count) }
    }
    if !hasLast { throw .missingTensor("\(prefix)\(count - 1).*") }
  }
}
