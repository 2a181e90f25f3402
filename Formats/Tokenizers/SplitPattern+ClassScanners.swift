extension SplitPattern {
  /// Tells whether a scalar belongs to a class.
  typealias ScalarClass = @Sendable (_ value: UInt32, _ flags: UInt16) -> Bool

  /// A run of `limit` scalars of a class at most, and `minimum` at least, after one scalar of `prefix` if there
  /// is one (which must not be of the class): `P?C{minimum,limit}`.
  static func classRun(
    prefix: ScalarClass? = nil, _ scalars: @escaping ScalarClass, minimum: Int = 1, limit: Int = .max
  ) -> Match {
    { text, start, classes in
      var index = start
      if let prefix {
        let (value, count) = UnicodeClasses.scalar(text, start)
        if prefix(value, classes.flags(of: value)) { index += count }
      }
      var found = 0
      while found < limit, index < text.count {
        let (value, count) = UnicodeClasses.scalar(text, index)
        if !scalars(value, classes.flags(of: value)) { break }
        index += count
        found += 1
      }
      return found >= minimum ? index : start
    }
  }

  /// Scalars of a class.
  static func category(_ mask: UInt16) -> ScalarClass { { _, flags in flags & mask != 0 } }

  /// Scalars as a bracket expression lists them: single ones and ranges with a hyphen.
  static func list(_ text: String, orClass mask: UInt16 = 0) -> ScalarClass {
    let scalars = text.unicodeScalars.map(\.value)
    var ranges: [ClosedRange<UInt32>] = []
    var index = 0
    while index < scalars.count {
      let isRange = index + 2 < scalars.count && scalars[index + 1] == 0x2D
      ranges.append(scalars[index]...(isRange ? scalars[index + 2] : scalars[index]))
      index += isRange ? 3 : 1
    }
    ranges.sort { $0.lowerBound < $1.lowerBound }
    let sorted = ranges
    return { value, flags in
      if flags & mask != 0 { return true }
      // The last range that begins at or before the value.
      var low = 0
      var high = sorted.count
      while low < high {
        let middle = (low + high) / 2
        if sorted[middle].lowerBound <= value { low = middle + 1 } else { high = middle }
      }
      return low > 0 && sorted[low - 1].contains(value)
    }
  }

  /// Scalars that are not of a class.
  static func not(_ scalars: @escaping ScalarClass) -> ScalarClass { { !scalars($0, $1) } }

  /// The third pattern of DeepSeek V3: `[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|
  /// [^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`.
  static func deepSeekEnd(
    _ text: Span<UInt8>, _ start: Int, _ classes: UnicodeClasses, keepsLineEnds: Bool
  ) -> Int {
    let word = UnicodeClasses.letter | UnicodeClasses.mark
    let signs = UnicodeClasses.punctuation | UnicodeClasses.symbol
    let first = classes.read(text, start)
    let next = start + first.count
    if text[start] < 0x80, first.flags & signs != 0, next < text.count, isLatinLetter(text[next]) {
      var end = next
      while end < text.count, isLatinLetter(text[end]) { end += 1 }
      return end
    }
    let second = next < text.count ? classes.read(text, next) : (flags: 0, count: 0)
    let isPrefix = first.flags & (UnicodeClasses.newline | UnicodeClasses.letter | signs) == 0
    if isPrefix, second.flags & word != 0 { return runEnd(text, next + second.count, classes, ofAny: word) }
    if first.flags & word != 0 { return runEnd(text, next, classes, ofAny: word) }
    let sign = text[start] == 0x20 && second.flags & signs != 0 ? next + second.count : next
    if sign > next || first.flags & signs != 0 {
      let end = runEnd(text, sign, classes, ofAny: signs)
      return keepsLineEnds ? runEnd(text, end, classes, ofAny: UnicodeClasses.newline) : end
    }
    if first.flags & UnicodeClasses.space == 0 { return start }
    if keepsLineEnds { return lineOrSpaceEnd(text, start, classes) }
    if first.flags & UnicodeClasses.newline != 0 { return next }
    return whiteSpaceEnd(text, from: start, runEnd: runEnd(text, next, classes, ofAny: UnicodeClasses.space))
  }

  private static func isLatinLetter(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
  }

  /// Runs of digits in groups of three, counted from the right: `\d{1,3}(?=(?:\d{3})*\b)` and the like, which
  /// as expressions take the square of the run's length.
  ///
  /// - Parameter needsBoundary: whether a run that a word character follows is no match at all (`\b`).
  static func digitGroups(
    _ text: Span<UInt8>, _ digits: ScalarClass, needsBoundary: Bool, into ranges: inout [Range<Int>]
  ) {
    var index = 0
    var starts: [Int] = []
    while index < text.count {
      starts.removeAll(keepingCapacity: true)
      while index < text.count {
        let (value, count) = UnicodeClasses.scalar(text, index)
        if !digits(value, UnicodeClasses.shared.flags(of: value)) { break }
        starts.append(index)
        index += count
      }
      let end = index
      if index < text.count { index += UnicodeClasses.scalar(text, index).count }
      if starts.isEmpty { continue }
      if needsBoundary, end < text.count {
        let following = UnicodeClasses.scalar(text, end).value
        let isNumber = UnicodeClasses.shared.flags(of: following) & UnicodeClasses.number != 0
        if isNumber || UnicodeClasses.isWord(following) { continue }
      }
      var place = 0
      while place < starts.count {
        let following = place == 0 && !starts.count.isMultiple(of: 3) ? starts.count % 3 : place + 3
        ranges.append(starts[place]..<(following < starts.count ? starts[following] : end))
        place = following
      }
    }
  }

  /// White space at the end of the text: `\s+$`, where lines have been split before.
  static func trailingSpace(_ text: Span<UInt8>, _ classes: UnicodeClasses, into ranges: inout [Range<Int>]) {
    var start = text.count
    while start > 0 {
      let before = UnicodeClasses.start(before: start, in: text)
      if classes.read(text, before).flags & UnicodeClasses.space == 0 { break }
      start = before
    }
    if start < text.count { ranges.append(start..<text.count) }
  }
}
