/// Unicode normalization by tables that are fixed here, so that token ids never depend on the toolchain.
///
/// Source: Unicode Standard Annex 15; Hangul by arithmetic (Unicode 16, section 3.12).
struct UnicodeNormalization: Sendable {
  /// The four forms.
  enum Form: String, Sendable, CaseIterable {
    /// Composed.
    case nfc = "NFC"
    /// Decomposed.
    case nfd = "NFD"
    /// Composed, compatibility characters replaced.
    case nfkc = "NFKC"
    /// Decomposed, compatibility characters replaced.
    case nfkd = "NFKD"

    fileprivate var isCompatible: Bool { self == .nfkc || self == .nfkd }
    fileprivate var isComposed: Bool { self == .nfc || self == .nfkc }
    /// Texts of scalars below this are in this form already.
    fileprivate var firstAffected: UInt32 {
      switch self {
      case .nfc: 0x300
      case .nfd: 0xC0
      case .nfkc, .nfkd: 0xA0
      }
    }
  }

  private static let shared = UnicodeNormalization()

  private var mappings: [UInt32] = []
  /// Where the mapping of a scalar stands: offset << 8 | count << 1 | whether it is for compatibility.
  private var places = KeyTable(capacity: 8192)
  private var classes = KeyTable(capacity: 2048)
  private var compositions = KeyTable(capacity: 2048)

  private init() {
    var reader = PackedIntegers(UnicodeDecompositions.packed)
    var scalar: UInt32 = 0
    while let distance = reader.next(), let head = reader.next() {
      scalar += distance
      let count = head >> 2
      places.set(UInt64(scalar), UInt64(mappings.count) << 8 | UInt64(count) << 1 | UInt64(head & 1))
      var previous = Int64(scalar)
      for _ in 0..<count {
        previous += reader.nextSigned()
        mappings.append(UInt32(truncatingIfNeeded: previous))
      }
      if head & 2 != 0 {
        let pair = mappings.suffix(2)
        compositions.set(
          UInt64(pair[pair.startIndex]) << 32 | UInt64(pair[pair.startIndex + 1]), UInt64(scalar))
      }
    }
    reader = PackedIntegers(UnicodeDecompositions.combiningClasses)
    var start: UInt32 = 0
    while let distance = reader.next(), let length = reader.next(), let value = reader.next() {
      start += distance
      for scalar in start..<start + length { classes.set(UInt64(scalar), UInt64(value)) }
      start += length
    }
  }

  /// UTF-8 text in a form.
  static func normalized(_ text: [UInt8], _ form: Form) -> [UInt8] {
    guard needsWork(text, form) else { return text }
    var scalars: [UInt32] = []
    scalars.reserveCapacity(text.count)
    var index = 0
    let span = text.span
    while index < span.count {
      let (value, count) = UnicodeClasses.scalar(span, index)
      shared.decompose(value, form.isCompatible, into: &scalars)
      index += count
    }
    shared.order(&scalars)
    if form.isComposed { shared.compose(&scalars) }
    var result: [UInt8] = []
    result.reserveCapacity(text.count)
    for scalar in scalars { appendScalar(scalar, to: &result) }
    return result
  }

  private static func needsWork(_ text: [UInt8], _ form: Form) -> Bool {
    // The first two bytes of the first scalar that may change; all of these have leads below 0xE0.
    let first = form.firstAffected
    let lead = UInt8(0xC0 | first >> 6)
    return text.contains { $0 >= lead }
  }

  /// Appends the full decomposition; no decomposition is deeper than a few levels.
  private func decompose(_ scalar: UInt32, _ isCompatible: Bool, into result: inout [UInt32]) {
    if scalar < 0xA0 {
      result.append(scalar)
    } else if (0xAC00..<0xAC00 + 11172).contains(scalar) {
      let index = scalar - 0xAC00
      result.append(0x1100 + index / 588)
      result.append(0x1161 + index % 588 / 28)
      if index % 28 > 0 { result.append(0x11A7 + index % 28) }
    } else if let place = places[UInt64(scalar)], isCompatible || place & 1 == 0 {
      let start = Int(place >> 8)
      for offset in 0..<Int(place >> 1 & 0x7F) {
        decompose(mappings[start + offset], isCompatible, into: &result)
      }
    } else {
      result.append(scalar)
    }
  }

  private func combiningClass(_ scalar: UInt32) -> UInt64 {
    scalar < 0x300 ? 0 : classes[UInt64(scalar)] ?? 0
  }

  /// Puts runs of combining marks in the order of their classes, equal ones as they were.
  private func order(_ scalars: inout [UInt32]) {
    var start = 0
    while start < scalars.count {
      if combiningClass(scalars[start]) == 0 {
        start += 1
        continue
      }
      var keys: [(key: UInt64, scalar: UInt32)] = []
      var end = start
      var isOrdered = true
      while end < scalars.count {
        let value = combiningClass(scalars[end])
        if value == 0 { break }
        let key = value << 32 | UInt64(end - start)
        if let last = keys.last, last.key > key { isOrdered = false }
        keys.append((key, scalars[end]))
        end += 1
      }
      if !isOrdered {
        keys.sort { $0.key < $1.key }
        for (offset, entry) in keys.enumerated() { scalars[start + offset] = entry.scalar }
      }
      start = end
    }
  }

  /// Composes in place.
  private func compose(_ scalars: inout [UInt32]) {
    var starter: Int?
    var lastClass: UInt64 = 0
    var count = 0
    for index in scalars.indices {
      let scalar = scalars[index]
      let value = combiningClass(scalar)
      // A mark is blocked by one of the same class or a higher one, a starter by any mark.
      let isAdjacent = starter == count - 1
      if let starter, isAdjacent || lastClass < value, isAdjacent || value > 0,
        let composed = composition(scalars[starter], scalar)
      {
        scalars[starter] = composed
        continue
      }
      if value == 0 { starter = count }
      lastClass = value
      scalars[count] = scalar
      count += 1
    }
    scalars.removeLast(scalars.count - count)
  }

  private func composition(_ first: UInt32, _ second: UInt32) -> UInt32? {
    if (0x1100..<0x1113).contains(first), (0x1161..<0x1176).contains(second) {
      return 0xAC00 + ((first - 0x1100) * 21 + (second - 0x1161)) * 28
    }
    if (0xAC00..<0xAC00 + 11172).contains(first), (first - 0xAC00) % 28 == 0,
      (0x11A8..<0x11C3).contains(second)
    {
      return first + (second - 0x11A7)
    }
    return compositions[UInt64(first) << 32 | UInt64(second)].map { UInt32($0) }
  }

  /// Appends a scalar in UTF-8.
  static func appendScalar(_ value: UInt32, to bytes: inout [UInt8]) {
    switch value {
    case 0..<0x80: bytes.append(UInt8(value))
    case 0..<0x800: bytes += [UInt8(0xC0 | value >> 6), UInt8(0x80 | value & 0x3F)]
    case 0..<0x1_0000:
      bytes += [UInt8(0xE0 | value >> 12), UInt8(0x80 | value >> 6 & 0x3F), UInt8(0x80 | value & 0x3F)]
    default:
      bytes += [
        UInt8(0xF0 | value >> 18 & 7), UInt8(0x80 | value >> 12 & 0x3F), UInt8(0x80 | value >> 6 & 0x3F),
        UInt8(0x80 | value & 0x3F),
      ]
    }
  }
}

/// Variable-length integers out of base64 text: seven bits a byte, the lowest first.
struct PackedIntegers {
  private var bytes: [UInt8] = []
  private var index = 0

  /// Reads the text.
  init(_ base64: String) {
    var bits: UInt32 = 0
    var count = 0
    for character in base64.utf8 {
      guard let digit = Self.digit(character) else { continue }
      bits = bits << 6 | digit
      count += 6
      if count >= 8 {
        count -= 8
        bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
      }
    }
  }

  /// The bytes of base64 text; nil when it is none.
  static func bytes(_ base64: String) -> [UInt8]? {
    let text = base64.utf8.filter { $0 != UInt8(ascii: "=") }
    guard text.allSatisfy({ digit($0) != nil }) else { return nil }
    return PackedIntegers(base64).bytes
  }

  /// The base64 text of bytes.
  static func base64(_ bytes: [UInt8]) -> String {
    let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    var text: [UInt8] = []
    text.reserveCapacity(bytes.count * 4 / 3 + 4)
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let group = bytes[start..<min(start + 3, bytes.count)]
      let bits = group.reduce(UInt32(0)) { $0 << 8 | UInt32($1) } << UInt32(8 * (3 - group.count))
      for place in 0..<4 {
        text.append(
          place <= group.count ? digits[Int(bits >> UInt32(18 - 6 * place) & 63)] : UInt8(ascii: "="))
      }
    }
    return String(decoding: text, as: UTF8.self)
  }

  private static func digit(_ character: UInt8) -> UInt32? {
    switch character {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(character) - 65
    case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(character) - 71
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(character) + 4
    case UInt8(ascii: "+"): 62
    case UInt8(ascii: "/"): 63
    default: nil
    }
  }

  /// The next integer; nil at the end.
  mutating func next() -> UInt32? {
    var value: UInt32 = 0
    var shift: UInt32 = 0
    while index < bytes.count {
      let byte = bytes[index]
      index += 1
      value |= UInt32(byte & 0x7F) << shift
      if byte < 0x80 { return value }
      shift += 7
    }
    return nil
  }

  /// The next integer with a sign, 0 at the end.
  mutating func nextSigned() -> Int64 {
    guard let value = next() else { return 0 }
    return value & 1 == 0 ? Int64(value >> 1) : -Int64(value >> 1) - 1
  }
}
