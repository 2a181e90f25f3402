/// A tokenizer as `tokenizer.json` describes it, with a byte-pair-encoding model.
///
/// The way of a text: added tokens are cut out; each stretch between them is split into words; each word
/// becomes symbols that are merged; the template puts special tokens around the whole.
struct BytePairTokenizer: Tokenizer {
  /// How a stretch of text becomes words.
  enum WordSplitting: Sendable {
    /// Bytes; split by each pattern in turn.
    case byteLevel(splits: [SplitPattern], addsPrefixSpace: Bool)
    /// Scalars; spaces become U+2581, which may be put in front; split before each U+2581 or not at all.
    case metaspace(MetaspacePrefix, isSplit: Bool)
  }

  /// Where U+2581 is put in front of a stretch of text.
  enum MetaspacePrefix: Sendable {
    /// Nowhere.
    case never
    /// At the start of the text, unless it is there.
    case first
    /// Before every stretch, unless it is there.
    case always
    /// Before every stretch, even if it is there (the normalizer Prepend).
    case unconditional
  }

  /// How tokens become text again.
  enum Decoding: Sendable, Equatable {
    /// By the byte alphabet.
    case byteLevel
    /// U+2581 becomes a space; `<0xNN>` may mean a byte; a space at the very start may be dropped.
    case metaspace(hasByteFallback: Bool, dropsFirstSpace: Bool)
  }

  /// The model.
  var model: PairModel
  /// How text is split.
  var splitting: WordSplitting
  /// How tokens are decoded.
  var decoding: Decoding
  /// Added tokens that are looked for first, and those that are looked for in what the first ones left.
  var addedTokens: (first: AddedTokenMatcher, second: AddedTokenMatcher)
  /// Tokens that the template puts before the text.
  var prefix: [Int32]
  /// Tokens that the template puts after the text.
  var suffix: [Int32]
  /// The vocabulary with the added tokens.
  var vocabulary: Vocabulary
  /// The token that a text begins with.
  var beginOfSequence: Int32?
  /// The token that a text ends with.
  var endOfSequence: Int32?

  /// Largest id + 1.
  var vocabularyCount: Int { vocabulary.count }

  func encode(_ text: [UInt8], addSpecialTokens: Bool, parseSpecialTokens: Bool) -> [Int32] {
    var stepCount = 0
    return encode(
      text, addSpecialTokens: addSpecialTokens, parseSpecialTokens: parseSpecialTokens, stepCount: &stepCount)
  }

  /// Encodes, and adds the steps that merging long words took.
  func encode(
    _ text: [UInt8], addSpecialTokens: Bool, parseSpecialTokens: Bool, stepCount: inout Int
  ) -> [Int32] {
    let text = UTF8Repair.repaired(text)
    let span = text.span
    var tokens: [Int32] = addSpecialTokens ? prefix : []
    tokens.reserveCapacity(text.count / 3 + 16)
    var scratch = PairModel.Scratch(model, byteCount: text.count)
    forEachStretch(
      span, 0..<span.count, addedTokens.first, parseSpecialTokens, into: &tokens
    ) { range, tokens in
      forEachStretch(span, range, addedTokens.second, parseSpecialTokens, into: &tokens) { range, tokens in
        encodeStretch(span.extracting(range), isFirst: range.lowerBound == 0, into: &tokens, &scratch)
      }
    }
    stepCount += scratch.stepCount
    if addSpecialTokens { tokens += suffix }
    return tokens
  }

  /// Appends the added tokens in `range`, and calls `body` for each stretch between them that is not empty.
  private func forEachStretch(
    _ text: Span<UInt8>, _ range: Range<Int>, _ matcher: AddedTokenMatcher, _ parseSpecialTokens: Bool,
    into tokens: inout [Int32], _ body: (Range<Int>, inout [Int32]) -> Void
  ) {
    var start = range.lowerBound
    if !matcher.isEmpty {
      for match in matcher.matches(text, range, parseSpecialTokens: parseSpecialTokens) {
        if start < match.range.lowerBound { body(start..<match.range.lowerBound, &tokens) }
        tokens.append(match.id)
        start = match.range.upperBound
      }
    }
    if start < range.upperBound { body(start..<range.upperBound, &tokens) }
  }

  private func encodeStretch(
    _ text: Span<UInt8>, isFirst: Bool, into tokens: inout [Int32], _ scratch: inout PairModel.Scratch
  ) {
    switch splitting {
    case .byteLevel(let splits, let addsPrefixSpace):
      if addsPrefixSpace, text[0] != 0x20 {
        let prefixed = [0x20] + text.copied()
        encodeSplit(prefixed.span, splits[...], into: &tokens, &scratch)
      } else {
        encodeSplit(text, splits[...], into: &tokens, &scratch)
      }
    case .metaspace(let prefix, let isSplit):
      let replaced = Metaspace.replacingSpaces(text, prefix: prefix, isFirst: isFirst)
      let span = replaced.span
      var start = 0
      while start < span.count {
        let end = isSplit ? Metaspace.nextMark(span, after: start) : span.count
        model.encode(span, start..<end, into: &tokens, &scratch)
        start = end
      }
    }
  }

  /// Splits by the first pattern, each piece by the next one, and encodes what comes out; as deep as there
  /// are patterns.
  private func encodeSplit(
    _ text: Span<UInt8>, _ splits: ArraySlice<SplitPattern>, into tokens: inout [Int32],
    _ scratch: inout PairModel.Scratch
  ) {
    guard let split = splits.first else {
      model.encode(text, 0..<text.count, into: &tokens, &scratch)
      return
    }
    let rest = splits.dropFirst()
    let classes = UnicodeClasses.shared
    var start = 0
    while start < text.count {
      let end = split.end(text, start, classes)
      if rest.isEmpty {
        model.encode(text, start..<end, into: &tokens, &scratch)
      } else {
        encodeSplit(text.extracting(start..<end), rest, into: &tokens, &scratch)
      }
      start = end
    }
  }
}

extension BytePairTokenizer {
  func bytes(of token: Int32) -> [UInt8] {
    vocabulary.isSpecial(token) ? [] : Array(vocabulary.textBytes(token))
  }

  func bytes(of token: Int32, in context: DecodingContext) -> [UInt8] {
    let bytes = bytes(of: token)
    if context.isAtStart, case .metaspace(_, dropsFirstSpace: true) = decoding, bytes.first == 0x20 {
      return Array(bytes.dropFirst())
    }
    return bytes
  }

  func isSpecial(_ token: Int32) -> Bool { vocabulary.isSpecial(token) }

  func token(_ id: Int32) -> String? { vocabulary.name(id) }

  func id(of token: String) -> Int32? { vocabulary.id(token) }
}

extension Span<UInt8> {
  /// The bytes as an array.
  func copied() -> [UInt8] { unsafe withUnsafeBufferPointer { unsafe Array($0) } }
}
