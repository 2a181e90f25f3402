import GraphIR
import OrderedCollections
import TensorCore

extension Decoder {
  /// Builds the graph over a checkpoint's tensors.
  /// - Throws: ``ArchitectureError`` naming a tensor.
  func importModel(_ weights: WeightCatalog) throws(ArchitectureError) -> ImportedModel {
    let names = self.names(in: weights)
    try weights.checkLayers(prefix: names.root + names.layers, count: sizes.layerCount, spare: spareLayers)
    var model = try DecoderBuilder(self, names: names, weights: weights)
    var hidden = try model.embeddedTokens()
    for layer in 0..<sizes.layerCount {
      hidden = try model.withScope("layers.\(layer)") { (model) throws(ArchitectureError) in
        try model.block(layer, hidden)
      }
    }
    if let norm = names.finalNorm {
      hidden = try model.normalize(hidden, names.root + norm, name: "n")
    }
    if let width = embeddingWidth {
      hidden = try model.projected(hidden, names.projectOut, outputs: width, name: "narrow")
    }
    let logits = try model.logits(hidden)
    return try model.finish(logits: logits)
  }

  /// Checkpoints of the bare model lack the root: what tells is the embedding.
  func names(in weights: WeightCatalog) -> TensorNames {
    let known = self.names
    if weights[known.root + known.embedding + ".weight"] != nil { return known }
    let bare = String(known.root.drop { $0 != "." }.dropFirst())
    let roots = [bare, "", "language_model." + known.root, "model.language_model."]
    let found = roots.first { weights[$0 + known.embedding + ".weight"] != nil }
    guard let found else { return known }
    var names = known
    if found == "language_model." + known.root { names.head = "language_model." + known.head }
    return names.rooted(at: found)
  }
}

extension DecoderBuilder {
  /// The residual stream before the first block.
  mutating func embeddedTokens() throws(ArchitectureError) -> ValueID {
    let (sizes, names) = (decoder.sizes, decoder.names)
    let width = decoder.embeddingWidth ?? sizes.hiddenSize
    let table = try weight(embeddingName, [sizes.vocabularySize, width])
    var hidden = try add(
      .embedding, [.value(tokens), table], name: decoder.embeddingWidth == nil ? "h0" : "h0_narrow")
    if decoder.embeddingWidth != nil {
      hidden = try projected(hidden, names.projectIn, outputs: sizes.hiddenSize, name: "h0")
    }
    if decoder.embeddingScale != 1 {
      hidden = try scaled(hidden, by: decoder.embeddingScale, name: "h0_scaled")
    }
    if let name = names.positions {
      let count = decoder.positionCount ?? sizes.contextLength
      let learned = try weight(names.root + name + ".weight", [count, sizes.hiddenSize])
      let offset: OrderedDictionary<String, Attribute> =
        decoder.positionOffset == 0 ? [:] : ["offset": .int(decoder.positionOffset)]
      let position = try add(.embedding, [.value(positions), learned], offset, name: "positions0")
      hidden = try add(.add, [.value(hidden), .value(position)], name: "h0_placed")
    }
    if let norm = names.embeddingNorm {
      hidden = try normalize(hidden, names.root + norm, name: "h0_normalized")
    }
    return hidden
  }

  /// A projection without bias outside the blocks.
  mutating func projected(
    _ x: ValueID, _ name: String, outputs: Int, name result: String
  ) throws(ArchitectureError) -> ValueID {
    try linear(x, decoder.names.root + name, outputs: outputs, bias: false, name: result)
  }

  private var embeddingName: String { decoder.names.root + decoder.names.embedding + ".weight" }

  /// A block: attention and feed-forward with the residual stream around them.
  mutating func block(_ layer: Int, _ hidden: ValueID) throws(ArchitectureError) -> ValueID {
    switch decoder.residual {
    case .sequential, .normalizedSums:
      let attended = try attentionBranch(layer, hidden)
      let middle = try joined(
        hidden, attended, decoder.names.attentionNorm, layer, name: "r\(layer)")
      let fed = try feedForwardBranch(layer, middle, shared: nil)
      return try joined(middle, fed, decoder.names.feedForwardNorm, layer, name: "h\(layer + 1)")
    case .parallel:
      let norm = decoder.names.attentionNorm
      let shared = try withScope("attention") { (model) throws(ArchitectureError) in
        try model.normalizeInBlock(hidden, norm, layer, name: "n\(layer)")
      }
      let attended = try attentionBranch(layer, shared, isNormalized: true)
      let fed = try feedForwardBranch(layer, hidden, shared: shared)
      let sum = try add(.add, [.value(attended), .value(fed)], name: "r\(layer)")
      return try add(.add, [.value(hidden), .value(sum)], name: "h\(layer + 1)")
    }
  }

  /// The sum of the stream and a branch.
  private mutating func joined(
    _ hidden: ValueID, _ branch: ValueID, _ norm: String?, _ layer: Int, name: String
  ) throws(ArchitectureError) -> ValueID {
    guard decoder.residual == .normalizedSums else {
      return try add(.add, [.value(hidden), .value(branch)], name: name)
    }
    let sum = try add(.add, [.value(hidden), .value(branch)], name: name + "_sum")
    return try normalizeInBlock(sum, norm, layer, name: name)
  }

  private mutating func attentionBranch(
    _ layer: Int, _ hidden: ValueID, isNormalized: Bool = false
  ) throws(ArchitectureError) -> ValueID {
    let names = decoder.names
    let norm = isNormalized || decoder.residual == .normalizedSums ? nil : names.attentionNorm
    return try withScope("attention") { (model) throws(ArchitectureError) in
      let x = try model.normalizeInBlock(hidden, norm, layer, name: "n\(layer)")
      let attended = try model.attention(x, layer: layer)
      return try model.finishedBranch(
        attended, names.afterAttentionNorm, layer, name: "o\(layer)")
    }
  }

  /// - Parameter shared: the normalized stream to take when the feed-forward has no norm of its own.
  private mutating func feedForwardBranch(
    _ layer: Int, _ hidden: ValueID, shared: ValueID?
  ) throws(ArchitectureError) -> ValueID {
    let names = decoder.names
    let norm = decoder.residual == .normalizedSums ? nil : names.feedForwardNorm
    let source = norm == nil ? shared ?? hidden : hidden
    return try withScope("feed_forward") { (model) throws(ArchitectureError) in
      let x = try model.normalizeInBlock(source, norm, layer, name: "m\(layer)")
      let fed = try model.feedForward(x, layer: layer)
      return try model.finishedBranch(
        fed, names.afterFeedForwardNorm, layer, name: "d\(layer)")
    }
  }

  /// A branch after the normalization and scale that some families put behind it.
  private mutating func finishedBranch(
    _ x: ValueID, _ norm: String?, _ layer: Int, name: String
  ) throws(ArchitectureError) -> ValueID {
    let normalized = try normalizeInBlock(x, norm, layer, name: name + "_normalized")
    if decoder.residualScale == 1 { return normalized }
    return try scaled(normalized, by: decoder.residualScale, name: name + "_scaled")
  }

  /// The head: logits by the embedding when it is tied, else by a matrix of its own.
  ///
  /// The tensor decides: a head that is there is used, whatever the flag says, and a contradiction is reported.
  mutating func logits(_ x: ValueID) throws(ArchitectureError) -> ValueID {
    let own = decoder.names.head + ".weight"
    let name = has(own) || !decoder.isTied ? own : embeddingName
    if decoder.isTied, name == own {
      warnings.append("tie_word_embeddings is true, but the checkpoint has \(own), which is used")
    }
    var operands = [Operand.value(x), try weight(name, [decoder.sizes.vocabularySize, columns(of: x)])]
    if decoder.headHasBias {
      operands.append(try weight(decoder.names.head + ".bias", [decoder.sizes.vocabularySize]))
    }
    let isLast = decoder.logitScale == 1 && decoder.logitSoftcap == 0
    var logits = try add(.linear, operands, name: isLast ? "logits" : "logits_raw")
    if decoder.logitScale != 1 {
      let name = decoder.logitSoftcap == 0 ? "logits" : "logits_scaled"
      logits = try scaled(logits, by: decoder.logitScale, name: name)
    }
    if decoder.logitSoftcap > 0 {
      logits = try add(
        .softcap, [.value(logits)], ["cap": .float(decoder.logitSoftcap)], name: "logits")
    }
    return logits
  }
}
