import SafeIO

/// SentencePiece's normalization rules (`precompiled_charsmap`): which byte strings become which.
///
/// A little-endian 32-bit byte count, a double-array trie of that many bytes (32-bit units), then the
/// replacements, each ended by a zero byte. A unit holds in bits 0-7 (with bit 31) the byte that leads to it,
/// in bit 8 whether a value hangs below, in bits 10-30 the offset to its children, times 256 if bit 9 is set;
/// a value is bits 0-30 of its unit: where the replacement begins.
///
/// Source: Yata's darts-clone double array, as SentencePiece stores it.
struct Charsmap: Sendable, Equatable {
  /// Bytes of the longest replacement: keeps text from growing without bound.
  static let maximumReplacementByteCount = 64
  /// Bytes of the longest key that is looked for.
  private static let maximumKeyByteCount = 128

  private let units: [UInt32]
  private let replacements: [UInt8]

  /// Reads the rules.
  /// - Throws: ``TokenizerError`` when counts do not fit, or a replacement is too long or not UTF-8.
  init(_ bytes: [UInt8], path: String, file: String?) throws(TokenizerError) {
    func invalid(_ expected: String, _ found: String) -> TokenizerError {
      .invalid(file: file, path: path, expected: expected, found: found)
    }
    guard bytes.count >= 4 else { throw invalid("at least 4 bytes", "\(bytes.count)") }
    let byteCount = Int(Self.integer(bytes, 0))
    guard byteCount > 0, byteCount.isMultiple(of: 4), byteCount <= bytes.count - 4 else {
      throw invalid("a trie of whole units inside of \(bytes.count - 4) bytes", "\(byteCount) bytes")
    }
    units = stride(from: 4, to: 4 + byteCount, by: 4).map { Self.integer(bytes, $0) }
    replacements = Array(bytes[(4 + byteCount)...])
    guard replacements.last == 0 || replacements.isEmpty else {
      throw invalid("replacements ended by zero", "none")
    }
    guard String(validating: replacements, as: UTF8.self) != nil else {
      throw invalid("replacements in UTF-8", "other bytes")
    }
    var start = 0
    for (index, byte) in replacements.enumerated() where byte == 0 {
      guard index - start <= Self.maximumReplacementByteCount else {
        throw .limit(file: file, path: path, limit: Self.maximumReplacementByteCount, found: index - start)
      }
      start = index + 1
    }
  }

  private static func integer(_ bytes: [UInt8], _ index: Int) -> UInt32 {
    (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[index + $1]) << UInt32($1 * 8) }
  }

  /// The bytes that the rules were read from.
  var bytes: [UInt8] {
    var result: [UInt8] = []
    for value in [UInt32(units.count * 4)] + units {
      for shift in stride(from: 0, to: 32, by: 8) {
        result.append(UInt8(truncatingIfNeeded: value >> UInt32(shift)))
      }
    }
    return result + replacements
  }

  /// The rule for a key that begins at `start`: how long it is, and what it becomes. The longest key, or the
  /// shortest one if `isShortest`.
  func rule(
    _ text: Span<UInt8>, _ start: Int, end: Int, isShortest: Bool = false
  ) -> (byteCount: Int, replacement: Range<Int>)? {
    var node = Self.offset(units[0])
    var found: (byteCount: Int, value: Int)?
    var index = start
    let last = min(end, start + Self.maximumKeyByteCount)
    while index < last {
      let byte = text[index]
      if byte == 0 { break }
      node ^= UInt32(byte)
      guard node < units.count else { break }
      let unit = units[Int(node)]
      guard unit & 0x8000_00FF == UInt32(byte) else { break }
      index += 1
      node ^= Self.offset(unit)
      guard node < units.count else { break }
      if unit & 0x100 != 0 {
        found = (index - start, Int(units[Int(node)] & 0x7FFF_FFFF))
        if isShortest { break }
      }
    }
    guard let found, found.value < replacements.count, replacements[found.value] & 0xC0 != 0x80 else {
      return nil
    }
    // Replacements are short and all of them end: checked when they were read.
    var stop = found.value
    while replacements[stop] != 0 { stop += 1 }
    return (found.byteCount, found.value..<stop)
  }

  private static func offset(_ unit: UInt32) -> UInt32 { (unit >> 10) << ((unit & 0x200) >> 6) }

  /// The bytes of a replacement.
  func replacement(_ range: Range<Int>) -> ArraySlice<UInt8> { replacements[range] }

  /// The text with the rules applied as the `Precompiled` normalizer does: grapheme clusters of less than six
  /// bytes as a whole, else scalar by scalar; what counts is the shortest key that a cluster or scalar begins
  /// with, and it replaces all of it.
  func normalizedByGraphemes(_ text: [UInt8]) -> [UInt8] {
    let text = UTF8Text.repaired(text)
    var result: [UInt8] = []
    result.reserveCapacity(text.count)
    let span = text.span
    var start = 0
    for character in String(decoding: text, as: UTF8.self) {
      let end = start + character.utf8.count
      if end - start < 6, let rule = rule(span, start, end: end, isShortest: true) {
        result += replacement(rule.replacement)
      } else {
        var index = start
        while index < end {
          let next = index + UnicodeClasses.scalar(span, index).count
          if let rule = rule(span, index, end: next, isShortest: true) {
            result += replacement(rule.replacement)
          } else {
            result += text[index..<next]
          }
          index = next
        }
      }
      start = end
    }
    return result
  }
}
