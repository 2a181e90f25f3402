import SafeIO
import TensorCore
import TestSupport
import Testing

@Suite("JSON") struct JSONTests {
  private func parse(_ text: String) throws -> JSONValue {
    try JSONValue.parse(Array(text.utf8), file: "t.json")
  }

  private func offset(_ bytes: [UInt8], limits: Limits = .standard) -> Int? {
    do {
      _ = try JSONValue.parse(bytes, file: "t.json", limits: limits)
      return nil
    } catch {
      guard case .json(_, let offset, _) = error else { return -1 }
      return offset
    }
  }

  @Test(
    "accepts",
    arguments: [
      ("null", JSONValue.null), (" true ", true), ("false", false), ("0", 0), ("-1", -1),
      ("9223372036854775807", 9_223_372_036_854_775_807), ("-9223372036854775808", .integer(.min)),
      ("9223372036854775808", .number(9.223372036854775808e18)), ("-0", .number(-0.0)), ("1.0", 1.0),
      ("1e3", 1000.0),
      ("1E-2", 0.01), ("0.1e+1", 1.0), ("5e-324", .number(.leastNonzeroMagnitude)), ("1e-999", 0.0),
      ("\"\"", ""),
      (#""a\"\\\/\b\f\n\r\tA""#, "a\"\\/\u{8}\u{C}\n\r\tA"), (#""\ud83d\ude00 \u00e9 \u0000""#, "😀 é \0"),
      ("\"\u{7F}é\u{2028}\u{10FFFF}\"", "\u{7F}é\u{2028}\u{10FFFF}"), ("[]", []), ("[ ]", []), ("{ }", [:]),
      ("[1,[2,[]],{}]", [1, [2, []], [:]]), ("{\"b\":1,\"a\":{\"c\":null}}", ["b": 1, "a": ["c": nil]]),
      ("\r\n\t [\n1 ,2\r]\t", [1, 2]),
    ] as [(String, JSONValue)])
  func accepts(text: String, expected: JSONValue) throws {
    let value = try parse(text)
    #expect(value == expected)
    if case .number(let number) = value, case .number(let wanted) = expected {
      #expect(number.bitPattern == wanted.bitPattern)
    }
  }

  @Test(
    "refuses with the byte offset",
    arguments: [
      ("", 0), ("  ", 2), ("nul", 0), ("nulx", 0), ("True", 0), ("01", 0), ("-", 1), ("+1", 0), (".5", 0),
      ("1.", 2), ("1e", 2),
      ("1e+", 3), ("0x10", 1), ("1e999", 0), ("-1e999", 0), ("NaN", 0), ("Infinity", 0), ("1 2", 2),
      ("[1,]", 3), ("[,1]", 1),
      ("[1 2]", 3), ("[1", 2), ("{\"a\":1,}", 7), ("{\"a\" 1}", 5), ("{\"a\":}", 5), ("{a:1}", 1),
      ("{\"a\":1", 6), ("{1:1}", 1),
      ("{\"a\":1]", 6), ("[1}", 2), ("\"abc", 4), ("\"\\x\"", 1), ("\"\\u12g4\"", 1), ("\"\\ud800\"", 1),
      ("\"\\ud800\\u0041\"", 1),
      ("\"\\udc00\"", 1), ("\"\\ud800x\"", 1), ("\"\\", 1), ("\"a\u{1}\"", 2), ("\"a\nb\"", 2),
      ("// c\n1", 0), ("[1]/**/", 3),
      ("\u{FEFF}1", 0), ("{} {}", 3), ("]", 0), ("'a'", 0), ("\u{A0}1", 0),
    ])
  func refuses(text: String, expected: Int) { #expect(offset(Array(text.utf8)) == expected) }

  @Test("refuses text that is not UTF-8 at its byte")
  func invalidUTF8() {
    let bad: [[UInt8]] = [
      [0x80], [0xC0, 0x80], [0xC1, 0xBF], [0xE0, 0x80, 0x80], [0xED, 0xA0, 0x80], [0xF0, 0x80, 0x80, 0x80],
      [0xF4, 0x90, 0x80, 0x80], [0xF5], [0xFF], [0xE2, 0x82], [0xC3],
    ]
    for bytes in bad {
      #expect(offset(Array("{\"aé".utf8) + bytes + Array("\":1}".utf8)) == 5, "\(bytes)")
      #expect(offset(Array("[\"\\n".utf8) + bytes + Array("\"]".utf8)) == 4, "\(bytes)")
    }
  }

  @Test("refuses duplicate keys however they are spelt")
  func duplicates() {
    #expect(offset(Array(#"{"a":1,"b":2,"a":3}"#.utf8)) == 13)
    #expect(offset(Array(#"{"a":1,"\u0061":3}"#.utf8)) == 7)
    #expect(offset(Array(#"{"x":{"é":1,"\u00e9":2}}"#.utf8)) != nil)
  }

  @Test("keeps keys apart that differ in their bytes only")
  func canonicalEquivalence() throws {
    let value = try parse("{\"\u{E9}\":1,\"e\u{301}\":2}")
    #expect(value.objectValue?.count == 2)
    #expect(value["\u{E9}"] == 1)
    #expect(value["e\u{301}"] == 2)
  }

  @Test("limits nesting without recursion beyond it")
  func depth() {
    let nested = { (count: Int) in
      Array(String(repeating: "[", count: count).utf8) + Array(String(repeating: "]", count: count).utf8)
    }
    #expect(offset(nested(128)) == nil)
    #expect(offset(nested(129)) == 128)
    #expect(offset(nested(100_000)) == 128)
    #expect(offset(Array(String(repeating: "{\"a\":", count: 100_000).utf8)) != nil)
  }

  @Test("limits strings and numbers")
  func sizes() {
    var limits = Limits.standard
    limits.maxStringBytes = 4
    #expect(offset(Array("\"abcd\"".utf8), limits: limits) == nil)
    #expect(offset(Array("\"abcde\"".utf8), limits: limits) == -1)
    #expect(offset(Array("\"ab\\ncd\"".utf8), limits: limits) == -1)
    #expect(offset([UInt8](repeating: 0x31, count: 2000)) == 0)
  }

  @Test("reads integers strictly")
  func integers() throws {
    for (text, expected) in [("7", 7), ("-3", -3), ("1.0", nil), ("1e3", nil), ("-0", nil), ("\"1\"", nil)]
      as [(String, Int64?)]
    {
      var reader = JSONReader(MemoryRegion(copying: Array(text.utf8)))
      #expect((try? reader.readInteger()) == expected, "\(text)")
    }
    #expect(try parse("1").doubleValue == 1)
    #expect(try parse("1.0").intValue == nil)
  }

  @Test("writes what it reads back", arguments: 0..<50)
  func roundTrip(seed: Int) throws {
    var generator = SeededGenerator(seed: UInt64(seed))
    let value = random(&generator, depth: 5)
    #expect(try parse(value.serialized()) == value, "seed \(seed)")
    #expect(try parse(value.serialized(pretty: true)) == value, "seed \(seed)")
  }

  @Test("writes stable text")
  func text() {
    let value: JSONValue = [
      "b": [1, 2.5, -0.0, 1e300], "a": ["\u{1}\"\\/\n", nil, true], "e": [], "o": [:],
    ]
    #expect(
      value.serialized() == #"{"b":[1,2.5,-0.0,1e+300],"a":["\u0001\"\\/\n",null,true],"e":[],"o":{}}"#)
    #expect(JSONValue.object(["a": [1]]).serialized(pretty: true) == "{\n  \"a\": [\n    1\n  ]\n}")
    #expect(JSONValue.number(.infinity).serialized() == "null")
  }

  @Test("never traps on damaged text")
  func damage() throws {
    let text = Array(#"{"a":[1,-2.5e3,true,null,"é\u00e9\ud83d\ude00\n"],"b":{"c":[]}}"#.utf8)
    for length in 0..<text.count { #expect(offset(Array(text.prefix(length))) != nil) }
    for index in text.indices {
      for bit in 0..<8 {
        var bytes = text
        bytes[index] ^= 1 << bit
        if let value = try? JSONValue.parse(bytes) { #expect(try parse(value.serialized()) == value) }
      }
    }
  }

  private func random(_ generator: inout SeededGenerator, depth: Int) -> JSONValue {
    switch Int.random(in: 0..<(depth == 0 ? 5 : 7), using: &generator) {
    case 0: return .null
    case 1: return .bool(Bool.random(using: &generator))
    case 2: return .integer(Int64(bitPattern: generator.next()))
    case 3:
      let value = Double(bitPattern: generator.next())
      return .number(value.isFinite ? value : 0.5)
    case 4: return .string(string(&generator))
    case 5:
      let count = Int.random(in: 0..<5, using: &generator)
      return .array((0..<count).map { _ in random(&generator, depth: depth - 1) })
    default:
      let count = Int.random(in: 0..<12, using: &generator)
      return .object(
        JSONObject((0..<count).map { _ in (string(&generator), random(&generator, depth: depth - 1)) }))
    }
  }

  private func string(_ generator: inout SeededGenerator) -> String {
    var text = ""
    for _ in 0..<Int.random(in: 0..<8, using: &generator) {
      let bounds: [UInt32] = [0x20, 0x80, 0x800, 0x10000, 0x110000]
      let value = UInt32.random(in: 0..<(bounds.randomElement(using: &generator) ?? 0x80), using: &generator)
      if let scalar = Unicode.Scalar(value) { text.unicodeScalars.append(scalar) }
    }
    return text
  }
}
