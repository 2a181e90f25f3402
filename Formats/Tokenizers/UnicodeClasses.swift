/// What the split patterns ask about a scalar, by table.
struct UnicodeClasses: Sendable {
  /// `\p{L}`.
  static let letter: UInt16 = 1
  /// `\p{N}`.
  static let number: UInt16 = 2
  /// `\s`: the property White_Space.
  static let space: UInt16 = 4
  /// `[\r\n]`, which are white space too.
  static let newline: UInt16 = 8
  /// `\p{M}`.
  static let mark: UInt16 = 16
  /// `\p{P}`.
  static let punctuation: UInt16 = 32
  /// `\p{S}`.
  static let symbol: UInt16 = 64
  /// `\p{Lu}` and `\p{Lt}`, which are letters too.
  static let uppercase: UInt16 = 128
  /// `\p{Ll}`, which are letters too.
  static let lowercase: UInt16 = 256

  /// The one table.
  static let shared = UnicodeClasses()

  /// Flags by scalar value up to the last letter.
  private let flags: [UInt16]
  /// Beyond the last letter there are only private use, two tags and these marks (variation selectors).
  private static let lastMarks: ClosedRange<UInt32> = 0xE0100...0xE01EF

  private init() {
    var flags: [UInt16] = []
    func mark(_ ranges: [UInt32], _ flag: UInt16) {
      var next = 0
      for index in stride(from: 0, to: ranges.count, by: 2) {
        let start = next + Int(ranges[index])
        next = start + Int(ranges[index + 1])
        if start == Int(Self.lastMarks.lowerBound) { break }
        if flags.count < next { flags += Array(repeating: 0, count: next - flags.count) }
        for value in start..<next { flags[value] |= flag }
      }
    }
    mark(UnicodeRanges.letters, Self.letter)
    mark(UnicodeRanges.numbers, Self.number)
    mark(UnicodeRanges.whiteSpace, Self.space)
    mark(UnicodeRanges.marks, Self.mark)
    mark(UnicodeRanges.punctuation, Self.punctuation)
    mark(UnicodeRanges.symbols, Self.symbol)
    mark(UnicodeRanges.uppercase, Self.uppercase)
    mark(UnicodeRanges.lowercase, Self.lowercase)
    flags[0x0A] |= Self.newline
    flags[0x0D] |= Self.newline
    self.flags = flags
  }

  /// The flags of a scalar value.
  @inline(__always)
  func flags(of value: UInt32) -> UInt16 {
    if value < UInt32(flags.count) { return flags[Int(value)] }
    return Self.lastMarks.contains(value) ? Self.mark : 0
  }

  /// The flags and the byte count of the scalar at `index`, which must be inside of `text`.
  ///
  /// On bytes that are not UTF-8 the count is 1 or reaches no further than the end.
  @inline(__always)
  func read(_ text: Span<UInt8>, _ index: Int) -> (flags: UInt16, count: Int) {
    let lead = text[index]
    if lead < 0x80 { return (flags[Int(lead)], 1) }
    let (value, count) = Self.multiByteScalar(text, index)
    return (flags(of: value), count)
  }

  /// The scalar at `index` and its byte count.
  static func scalar(_ text: Span<UInt8>, _ index: Int) -> (value: UInt32, count: Int) {
    let lead = text[index]
    return lead < 0x80 ? (UInt32(lead), 1) : multiByteScalar(text, index)
  }

  private static func multiByteScalar(_ text: Span<UInt8>, _ index: Int) -> (value: UInt32, count: Int) {
    let lead = UInt32(text[index])
    let count = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4
    guard lead >= 0xC0, index + count <= text.count else { return (0xFFFD, 1) }
    var value = lead & (0x7F >> UInt32(count))
    for offset in 1..<count { value = value << 6 | UInt32(text[index + offset] & 0x3F) }
    return (value, count)
  }

  /// Where the scalar that ends before `index` begins; `index` must be above 0.
  static func start(before index: Int, in text: Span<UInt8>) -> Int {
    var start = index - 1
    while start > 0, index - start < 4, text[start] & 0xC0 == 0x80 { start -= 1 }
    return start
  }

  /// Whether a scalar belongs to a word (`\w` of Unicode regular expressions, UTS 18 annex C).
  static func isWord(_ value: UInt32) -> Bool {
    guard let properties = Unicode.Scalar(value)?.properties else { return false }
    if properties.isAlphabetic || properties.isJoinControl { return true }
    switch properties.generalCategory {
    case .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .connectorPunctuation: return true
    default: return false
    }
  }
}
