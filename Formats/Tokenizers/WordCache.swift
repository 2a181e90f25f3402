/// Remembers the tokens of short words within one text.
///
/// Each word has one place, found by its hash; a newcomer simply takes it, so that no text can make the cache
/// slow.
struct WordCache {
  /// Longest word in bytes.
  static let maximumByteCount = 16
  /// Most tokens a word may have.
  private static let maximumTokenCount = 8
  private static let seed = UInt64.random(in: 0 ... .max) | 1

  private struct Entry {
    var low: UInt64 = 0
    var high: UInt64 = 0
    var byteCount: UInt8 = 0
    var tokenCount: UInt8 = 0
    var tokens: InlineArray<8, Int32> = .init(repeating: 0)
  }

  /// A word of 1 to 16 bytes as two integers.
  struct Key {
    fileprivate var low: UInt64 = 0
    fileprivate var high: UInt64 = 0
    fileprivate var byteCount: UInt8

    /// The key of `text[range]`; nil when it is empty or too long.
    init?(_ text: Span<UInt8>, _ range: Range<Int>) {
      guard !range.isEmpty, range.count <= WordCache.maximumByteCount else { return nil }
      byteCount = UInt8(range.count)
      for index in range.reversed() {
        high = high << 8 | low >> 56
        low = low << 8 | UInt64(text[index])
      }
    }
  }

  private var entries: [Entry]

  /// An empty cache for a text of `byteCount` bytes.
  init(byteCount: Int) {
    var count = 64
    while count < byteCount / 8, count < 1 << 15 { count *= 2 }
    entries = Array(repeating: Entry(), count: count)
  }

  private func place(of key: Key) -> Int {
    let mixed = (key.low &+ key.high &* 0x9E37_79B9_7F4A_7C15 &+ UInt64(key.byteCount)) &* Self.seed
    return Int(truncatingIfNeeded: ((mixed ^ (mixed >> 32)) &* Self.seed) >> 40) & (entries.count - 1)
  }

  /// Appends the tokens of a word if they are known, and tells whether they were.
  func append(_ key: Key, to tokens: inout [Int32]) -> Bool {
    let place = place(of: key)
    guard entries[place].byteCount == key.byteCount, entries[place].low == key.low,
      entries[place].high == key.high
    else { return false }
    for index in 0..<Int(entries[place].tokenCount) { tokens.append(entries[place].tokens[index]) }
    return true
  }

  /// Remembers the tokens of a word, if they are few enough.
  mutating func store(_ key: Key, _ tokens: ArraySlice<Int32>) {
    guard tokens.count <= Self.maximumTokenCount else { return }
    var entry = Entry(
      low: key.low, high: key.high, byteCount: key.byteCount, tokenCount: UInt8(tokens.count))
    for (index, token) in tokens.enumerated() { entry.tokens[index] = token }
    entries[place(of: key)] = entry
  }
}
