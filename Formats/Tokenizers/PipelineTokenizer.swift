import SafeIO

/// A tokenizer put together from parts, as `tokenizer.json` describes it; vocabularies of other formats are
/// turned into the same parts.
///
/// The way of a text: added tokens are cut out; each stretch between them is normalized; further added tokens
/// are cut out; what is left is split into words; words become tokens; the template puts tokens around the
/// whole.
struct PipelineTokenizer: Tokenizer {
  /// How stretches are normalized, in order.
  var normalization: [NormalizationStep] = []
  /// How stretches become words, in order.
  var splitting: [SplittingStep] = []
  /// How words become tokens.
  var model: TokenModel
  /// How tokens are decoded.
  var decoding: TokenDecoding
  /// Added tokens that are looked for first, and those that are looked for in what the first ones left.
  var addedTokens: (first: AddedTokenMatcher, second: AddedTokenMatcher)
  /// Tokens that the template puts before the text.
  var prefix: [Int32] = []
  /// Tokens that the template puts after the text.
  var suffix: [Int32] = []
  /// The vocabulary with the added tokens.
  var vocabulary: Vocabulary
  /// The token that a text begins with.
  var beginOfSequence: Int32?
  /// The token that a text ends with.
  var endOfSequence: Int32?

  /// Largest id + 1.
  var vocabularyCount: Int { vocabulary.count }

  func encode(
    _ text: [UInt8], addSpecialTokens: Bool, parseSpecialTokens: Bool
  ) throws(TokenizerError) -> [Int32] {
    var stepCount = 0
    return try encode(
      text, addSpecialTokens: addSpecialTokens, parseSpecialTokens: parseSpecialTokens, stepCount: &stepCount)
  }

  /// Encodes, and adds the steps that long words took.
  func encode(
    _ text: [UInt8], addSpecialTokens: Bool, parseSpecialTokens: Bool, stepCount: inout Int
  ) throws(TokenizerError) -> [Int32] {
    let text = UTF8Text.repaired(text)
    let span = text.span
    var tokens: [Int32] = addSpecialTokens ? prefix : []
    tokens.reserveCapacity(text.count / 3 + 16)
    var scratch = TokenModel.Scratch(model, byteCount: text.count)
    try forEachStretch(
      span, 0..<span.count, addedTokens.first, parseSpecialTokens, into: &tokens
    ) { range, tokens throws(TokenizerError) in
      if normalization.isEmpty {
        try encodeNormalized(
          span.extracting(range), isFirst: range.lowerBound == 0, parseSpecialTokens, into: &tokens, &scratch)
      } else {
        let normalized = try NormalizationStep.apply(normalization, to: span.extracting(range).copied())
        let isFirst = range.lowerBound == 0 ? try keepsStart(of: span.extracting(range)) : false
        try encodeNormalized(normalized.span, isFirst: isFirst, parseSpecialTokens, into: &tokens, &scratch)
      }
    }
    stepCount += scratch.stepCount
    if addSpecialTokens { tokens += suffix }
    return tokens
  }

  /// Whether something is left of the first character after normalization. Where nothing is, what follows does not count
  /// as the start of the text: the reference goes by places in the text as it was.
  private func keepsStart(of text: Span<UInt8>) throws(TokenizerError) -> Bool {
    let looksAtStart = splitting.contains { if case .metaspace(.first, _) = $0 { true } else { false } }
    guard looksAtStart, !text.isEmpty else { return true }
    var count = 1
    while count < text.count, text[count] & 0xC0 == 0x80 { count += 1 }
    return try !NormalizationStep.apply(normalization, to: text.extracting(0..<count).copied()).isEmpty
  }

  private func encodeNormalized(
    _ text: Span<UInt8>, isFirst: Bool, _ parseSpecialTokens: Bool, into tokens: inout [Int32],
    _ scratch: inout TokenModel.Scratch
  ) throws(TokenizerError) {
    try forEachStretch(
      text, 0..<text.count, addedTokens.second, parseSpecialTokens, into: &tokens
    ) { range, tokens throws(TokenizerError) in
      try encodeSplit(
        text.extracting(range), splitting[...], isFirst: isFirst && range.lowerBound == 0, into: &tokens,
        &scratch)
    }
  }

  /// Appends the added tokens in `range`, and calls `body` for each stretch between them that is not empty.
  private func forEachStretch(
    _ text: Span<UInt8>, _ range: Range<Int>, _ matcher: AddedTokenMatcher, _ parseSpecialTokens: Bool,
    into tokens: inout [Int32], _ body: (Range<Int>, inout [Int32]) throws(TokenizerError) -> Void
  ) throws(TokenizerError) {
    var start = range.lowerBound
    if !matcher.isEmpty {
      for match in matcher.matches(text, range, parseSpecialTokens: parseSpecialTokens) {
        if start < match.range.lowerBound { try body(start..<match.range.lowerBound, &tokens) }
        tokens.append(match.id)
        start = match.range.upperBound
      }
    }
    if start < range.upperBound { try body(start..<range.upperBound, &tokens) }
  }

  /// Takes the first step, each piece by the next ones, and encodes what comes out; as deep as there are
  /// steps, whose number is limited.
  private func encodeSplit(
    _ text: Span<UInt8>, _ steps: ArraySlice<SplittingStep>, isFirst: Bool, into tokens: inout [Int32],
    _ scratch: inout TokenModel.Scratch
  ) throws(TokenizerError) {
    guard let step = steps.first else {
      model.encode(text, 0..<text.count, into: &tokens, &scratch)
      return
    }
    let rest = steps.dropFirst()
    if let rewritten = step.rewritten(text, isFirst: isFirst) {
      try encodePieces(rewritten.span, step, rest, isFirst: isFirst, into: &tokens, &scratch)
    } else {
      try encodePieces(text, step, rest, isFirst: isFirst, into: &tokens, &scratch)
    }
  }

  private func encodePieces(
    _ text: Span<UInt8>, _ step: SplittingStep, _ rest: ArraySlice<SplittingStep>, isFirst: Bool,
    into tokens: inout [Int32], _ scratch: inout TokenModel.Scratch
  ) throws(TokenizerError) {
    try step.forEachPiece(text) { range throws(TokenizerError) in
      if rest.isEmpty {
        model.encode(text, range, into: &tokens, &scratch)
      } else {
        try encodeSplit(
          text.extracting(range), rest, isFirst: isFirst && range.lowerBound == 0, into: &tokens, &scratch)
      }
    }
  }
}

extension PipelineTokenizer {
  func bytes(of token: Int32) -> [UInt8] {
    vocabulary.isSpecial(token) ? [] : Array(vocabulary.textBytes(token))
  }

  func bytes(of token: Int32, in context: DecodingContext) -> [UInt8] {
    if vocabulary.isSpecial(token) { return [] }
    return context.isAtStart && decoding.changesStart ? startBytes(token) : Array(vocabulary.textBytes(token))
  }

  /// What a token decodes to where the text begins.
  private func startBytes(_ token: Int32) -> [UInt8] {
    decoding.startBytes(name: vocabulary.nameBytes(token), text: vocabulary.textBytes(token))
  }

  func specialBytes(of token: Int32, in context: DecodingContext) -> [UInt8] {
    decoding.specialBytes(name: vocabulary.nameBytes(token), isAtStart: context.isAtStart)
  }

  func isSpecial(_ token: Int32) -> Bool { vocabulary.isSpecial(token) }

  func token(_ id: Int32) -> String? { vocabulary.name(id) }

  func id(of token: String) -> Int32? { vocabulary.id(token.utf8) }
}

extension Span<UInt8> {
  /// The bytes as an array.
  func copied() -> [UInt8] { unsafe withUnsafeBufferPointer { unsafe Array($0) } }
}
