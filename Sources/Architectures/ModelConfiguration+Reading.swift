import OrderedCollections
import SafeIO

extension ModelConfiguration {
  /// Reads the sizes under the keys that most families use.
  ///
  /// Bounds are far above every model there is and far below what could overflow: 10 000 layers, 2^20 columns,
  /// 2^26 tokens of vocabulary.
  /// - Throws: ``ArchitectureError`` naming the key.
  init(_ reader: inout ConfigurationReader) throws(ArchitectureError) {
    vocabularySize = try reader.integer("vocab_size", in: 1...1 << 26)
    hiddenSize = try reader.integer("hidden_size", in: 1...1 << 20)
    intermediateSize = try reader.integer("intermediate_size", in: 1...1 << 22)
    layerCount = try reader.integer("num_hidden_layers", in: 1...10_000)
    headCount = try reader.integer("num_attention_heads", in: 1...1 << 14)
    kvHeadCount = try reader.integer("num_key_value_heads", in: 1...1 << 14, default: headCount)
    guard headCount % kvHeadCount == 0 else {
      throw .configuration(
        key: reader.path("num_key_value_heads"), expected: "a divisor of num_attention_heads \(headCount)",
        found: "\(kvHeadCount)")
    }
    if let width = try reader.optionalInteger("head_dim", in: 2...1 << 14) {
      headDimension = width
    } else {
      guard hiddenSize % headCount == 0 else {
        throw .configuration(
          key: reader.path("num_attention_heads"), expected: "a divisor of hidden_size \(hiddenSize)",
          found: "\(headCount)")
      }
      headDimension = hiddenSize / headCount
    }
    guard (2...1 << 14).contains(headDimension), headDimension.isMultiple(of: 2) else {
      throw .configuration(
        key: reader.path("head_dim"), expected: "an even number from 2 to \(1 << 14)",
        found: "\(headDimension)")
    }
    contextLength = try reader.integer("max_position_embeddings", in: 1...1 << 31, default: 2048)
    let vocabulary = vocabularySize
    bosToken = try reader.tokens("bos_token_id", vocabularySize: vocabulary).first
    eosTokens = try reader.tokens("eos_token_id", vocabularySize: vocabulary)
  }
}

extension WeightCatalog {
  /// Checks that the tensors of numbered layers are those of layers 0..<count, before anything is built.
  /// - Throws: ``ArchitectureError`` naming a tensor of a layer that should not be there, or the last layer if it is
  ///   not there at all.
  func checkLayers(prefix: String, count: Int) throws(ArchitectureError) {
    var hasLast = false
    for name in entries.keys where name.hasPrefix(prefix) {
      guard let number = Int(name.dropFirst(prefix.count).prefix { $0 != "." }) else { continue }
      if number == count - 1 { hasLast = true }
      guard number < count else { throw .extraLayer(name, layerCount: count) }
    }
    if !hasLast { throw .missingTensor("\(prefix)\(count - 1).*") }
  }
}
