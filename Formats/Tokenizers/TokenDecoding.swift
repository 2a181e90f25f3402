/// How tokens become text again: steps on each token, and what is different where the text begins.
struct TokenDecoding: Sendable {
  /// A step on a token.
  enum Step: Sendable, Equatable {
    /// By the byte alphabet, if all scalars are of it.
    case byteLevel
    /// Replaces bytes wherever they stand.
    case replace([UInt8], by: [UInt8])
    /// `<0xNN>` is a byte.
    case byteFallback
    /// U+2581 becomes a space; at the start nothing, if `dropsFirst`.
    case metaspace(dropsFirst: Bool)
    /// Takes so many of a scalar's bytes away at both ends.
    case strip([UInt8], start: Int, end: Int)
    /// A token that begins with the prefix goes on with a word, any other one gets a space in front.
    case wordPiece(prefix: [UInt8], cleansUp: Bool)
    /// A space before every token but the first.
    case spaced
  }

  /// The steps in order.
  var steps: [Step] = []
  /// Whether one space at the start of the whole text is dropped.
  var dropsFirstSpace = false

  /// Whether a token decodes differently at the start.
  var changesStart: Bool { dropsFirstSpace || !steps.allSatisfy(Self.isSameAtStart) }

  private static func isSameAtStart(_ step: Step) -> Bool {
    switch step {
    case .metaspace(dropsFirst: true), .wordPiece, .spaced: false
    default: true
    }
  }

  /// What a token decodes to.
  func bytes(name: some Collection<UInt8>, isAtStart: Bool) -> [UInt8] {
    var bytes = Array(name)
    for step in steps { Self.apply(step, to: &bytes, isAtStart: isAtStart) }
    return bytes
  }

  /// What a token decodes to at the start; `text` is what it decodes to elsewhere.
  func startBytes(name: some Collection<UInt8>, text: some Collection<UInt8>) -> [UInt8] {
    let bytes =
      steps.allSatisfy(Self.isSameAtStart) ? Array(text) : bytes(name: name, isAtStart: true)
    return dropsFirstSpace && bytes.first == 0x20 ? Array(bytes.dropFirst()) : bytes
  }

  /// What a special token decodes to.
  func specialBytes(name: some Collection<UInt8>, isAtStart: Bool) -> [UInt8] {
    let bytes = bytes(name: name, isAtStart: isAtStart)
    return isAtStart && dropsFirstSpace && bytes.first == 0x20 ? Array(bytes.dropFirst()) : bytes
  }

  private static func apply(_ step: Step, to bytes: inout [UInt8], isAtStart: Bool) {
    switch step {
    case .byteLevel: bytes = ByteAlphabet.bytes(of: String(decoding: bytes, as: UTF8.self)) ?? bytes
    case .replace(let old, let new): bytes = bytes.replacing(old, by: new)
    case .byteFallback: if let byte = Metaspace.byte(of: bytes) { bytes = [byte] }
    case .metaspace(let dropsFirst):
      bytes = bytes.replacing(Metaspace.mark, by: dropsFirst && isAtStart ? [] : [0x20])
    case .strip(let scalar, let start, let end):
      for _ in 0..<start where bytes.starts(with: scalar) { bytes.removeFirst(scalar.count) }
      for _ in 0..<end where bytes.suffix(scalar.count) == scalar[...] { bytes.removeLast(scalar.count) }
    case .wordPiece(let prefix, let cleansUp):
      if !isAtStart {
        if bytes.starts(with: prefix) { bytes.removeFirst(prefix.count) } else { bytes = [0x20] + bytes }
      }
      if cleansUp { cleanUp(&bytes) }
    case .spaced: if !isAtStart { bytes = [0x20] + bytes }
    }
  }

  /// Takes away spaces before punctuation and inside of contractions, as the reference implementation does
  /// token by token.
  private static func cleanUp(_ bytes: inout [UInt8]) {
    let rules = [
      (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
      (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
    ]
    for (old, new) in rules { bytes = bytes.replacing(Array(old.utf8), by: Array(new.utf8)) }
  }
}

extension [UInt8] {
  /// The bytes with every `old`, from the left, in place of it `new`; `old` must not be empty.
  func replacing(_ old: [UInt8], by new: [UInt8]) -> [UInt8] {
    guard let first = old.first, count >= old.count else { return self }
    var result: [UInt8] = []
    result.reserveCapacity(count)
    var index = 0
    while index < count {
      if self[index] == first, index + old.count <= count, self[index..<index + old.count].elementsEqual(old)
      {
        result += new
        index += old.count
      } else {
        result.append(self[index])
        index += 1
      }
    }
    return result
  }
}
