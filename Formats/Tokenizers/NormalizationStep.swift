/// One step on the way from a stretch of text to normalized text.
enum NormalizationStep: Sendable {
  /// A Unicode normalization form.
  case unicode(UnicodeNormalization.Form)
  /// Every scalar in lowercase, without regard to its neighbours.
  case lowercase
  /// Takes white space away at the start, at the end.
  case strip(left: Bool, right: Bool)
  /// Leaves out all marks (general category M).
  case stripAccents
  /// Replaces bytes wherever they stand.
  case replace([UInt8], by: [UInt8])
  /// Replaces the matches of an expression.
  case replaceMatches(SplitPattern, by: [UInt8])
  /// Puts text before a stretch that is not empty.
  case prepend([UInt8])
  /// SentencePiece's rules, applied to grapheme clusters as the reference implementation of `tokenizer.json`
  /// does.
  case charsmap(Charsmap)
  /// SentencePiece's own normalizer.
  case sentencePiece(SentencePieceNormalizer)
  /// BERT's.
  case bert(BERTNormalizer)
  /// The control characters and spaces of SentencePiece's `nmt` rules.
  case nmt

  /// The text after all steps; it may be empty.
  /// - Throws: ``TokenizerError/limit(file:path:limit:found:)`` when it grows without measure.
  static func apply(_ steps: [NormalizationStep], to text: [UInt8]) throws(TokenizerError) -> [UInt8] {
    let limit = text.count.multipliedReportingOverflow(by: 32).partialValue + 65_536
    var text = text
    for step in steps {
      text = try step.applied(to: text, limit: limit)
      try check(text.count, limit)
    }
    return text
  }

  private static func check(_ count: Int, _ limit: Int) throws(TokenizerError) {
    if count > limit { throw .limit(file: nil, path: "normalizer", limit: limit, found: count) }
  }

  private func applied(to text: [UInt8], limit: Int) throws(TokenizerError) -> [UInt8] {
    switch self {
    case .unicode(let form): return UnicodeNormalization.normalized(text, form)
    case .lowercase: return Self.lowercased(text)
    case .strip(let left, let right): return Self.stripped(text, left: left, right: right)
    case .stripAccents:
      return Self.mapScalars(text) { scalar, result in
        if UnicodeClasses.shared.flags(of: scalar) & UnicodeClasses.mark == 0 {
          UnicodeNormalization.appendScalar(scalar, to: &result)
        }
      }
    case .replace(let old, let new):
      let count = (text.count - text.replacing(old, by: []).count) / old.count
      try Self.check(count * new.count, limit)
      return text.replacing(old, by: new)
    case .replaceMatches(let pattern, let new):
      var result: [UInt8] = []
      try pattern.forEachPart(text.span) { range, isMatch throws(TokenizerError) in
        if isMatch { result += new } else { result += text[range] }
        try Self.check(result.count, limit)
      }
      return result
    case .prepend(let prefix): return text.isEmpty ? text : prefix + text
    case .charsmap(let map): return map.normalizedByGraphemes(text)
    case .sentencePiece(let normalizer): return normalizer.normalized(text)
    case .bert(let normalizer): return normalizer.normalized(text)
    case .nmt: return Self.mapScalars(text, Self.appendNMT)
    }
  }

  /// The text with each scalar replaced.
  static func mapScalars(_ text: [UInt8], _ map: (UInt32, inout [UInt8]) -> Void) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(text.count)
    let span = text.span
    var index = 0
    while index < span.count {
      let (value, count) = UnicodeClasses.scalar(span, index)
      map(value, &result)
      index += count
    }
    return result
  }

  /// Every scalar in lowercase.
  static func lowercased(_ text: [UInt8]) -> [UInt8] {
    mapScalars(text) { scalar, result in
      if scalar < 0x80 {
        result.append((0x41...0x5A).contains(scalar) ? UInt8(scalar | 0x20) : UInt8(scalar))
      } else if let properties = Unicode.Scalar(scalar)?.properties {
        result += Array(properties.lowercaseMapping.utf8)
      }
    }
  }

  private static func stripped(_ text: [UInt8], left: Bool, right: Bool) -> [UInt8] {
    let span = text.span
    var start = 0
    var end = span.count
    if left { start = SplitPattern.runEnd(span, 0, .shared, ofAny: UnicodeClasses.space) }
    while right, end > start {
      let before = UnicodeClasses.start(before: end, in: span)
      if UnicodeClasses.shared.read(span, before).flags & UnicodeClasses.space == 0 { break }
      end = before
    }
    return Array(text[start..<end])
  }

  private static func appendNMT(_ scalar: UInt32, to result: inout [UInt8]) {
    switch scalar {
    case 0x01...0x08, 0x0B, 0x0E...0x1F, 0x7F, 0x8F, 0x9F: return
    case 0x09, 0x0A, 0x0C, 0x0D, 0x1680, 0x200B...0x200F, 0x2028, 0x2029, 0x2581, 0xFEFF, 0xFFFD:
      result.append(0x20)
    default: UnicodeNormalization.appendScalar(scalar, to: &result)
    }
  }
}
