/// Spaces written as U+2581 "lower one eighth block", as SentencePiece vocabularies have them.
enum Metaspace {
  /// The mark in UTF-8.
  static let mark: [UInt8] = [0xE2, 0x96, 0x81]
  /// The mark.
  static let text = "\u{2581}"

  /// `text` with every U+0020 replaced by the mark, and the mark in front where `prefix` asks for it.
  static func replacingSpaces(
    _ text: Span<UInt8>, prefix: SplittingStep.MetaspacePrefix, isFirst: Bool
  ) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(text.count + text.count / 4 + 3)
    let beginsWithMark = text[0] == 0x20 || isMark(text, 0)
    let isPrefixed =
      switch prefix {
      case .never: false
      case .first: isFirst && !beginsWithMark
      case .always: !beginsWithMark
      case .unconditional: true
      }
    if isPrefixed { result += mark }
    for index in text.indices {
      if text[index] == 0x20 { result += mark } else { result.append(text[index]) }
    }
    return result
  }

  /// Where the next mark after the one or the scalar at `start` begins; the end when there is none.
  static func nextMark(_ text: Span<UInt8>, after start: Int) -> Int {
    var index = start + 1
    while index < text.count, !isMark(text, index) { index += 1 }
    return index
  }

  private static func isMark(_ text: Span<UInt8>, _ index: Int) -> Bool {
    index + 2 < text.count && text[index] == mark[0] && text[index + 1] == mark[1]
      && text[index + 2] == mark[2]
  }

  /// The byte that a token such as `<0x0A>` stands for.
  static func byte(of token: some Collection<UInt8>) -> UInt8? {
    let bytes = Array(token)
    guard bytes.count == 6, bytes[0] == UInt8(ascii: "<"), bytes[1] == UInt8(ascii: "0"),
      bytes[2] == UInt8(ascii: "x"), bytes[5] == UInt8(ascii: ">"), let high = hexadecimalDigit(bytes[3]),
      let low = hexadecimalDigit(bytes[4])
    else { return nil }
    return high << 4 | low
  }

  /// The token of a byte.
  static func token(of byte: UInt8) -> String {
    let digits = Array("0123456789ABCDEF".utf8)
    return "<0x" + String(decoding: [digits[Int(byte >> 4)], digits[Int(byte & 15)]], as: UTF8.self) + ">"
  }

  /// The value of a hexadecimal digit.
  static func hexadecimalDigit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    default: nil
    }
  }
}
