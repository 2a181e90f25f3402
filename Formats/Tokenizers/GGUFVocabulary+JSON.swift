import SafeIO

/// The canonical JSON of a vocabulary: one object, keys in a fixed order, absent parts left out.
///
/// A text that is UTF-8 is a string; bytes that are not are `{"hex": "C3"}`.
extension GGUFVocabulary {
  /// The JSON text; equal vocabularies have equal texts.
  public var canonicalJSON: [UInt8] {
    var object = JSONObject()
    object["model"] = .string(model)
    object["pre"] = pre.map(JSONValue.string)
    object["tokens"] = .array(tokens.map(Self.json))
    object["scores"] = scores.map { .array($0.map(Self.json)) }
    object["token_type"] = types.map { .array($0.map { JSONValue(Int($0)) }) }
    object["merges"] = merges.map { .array($0.map(Self.json)) }
    object["ids"] = Self.object(ids) { JSONValue(Int($0)) }
    object["flags"] = Self.object(flags) { .bool($0) }
    object["precompiled_charsmap"] = charsmap.map { .string(Self.hexadecimal($0)) }
    object["chat_template"] = chatTemplate.map(JSONValue.string)
    object["chat_templates"] = Self.object(namedChatTemplates) { .string($0) }
    return Array(JSONValue.object(object).serialized().utf8)
  }

  private static func object<Value>(
    _ values: [String: Value], _ json: (Value) -> JSONValue
  ) -> JSONValue? {
    if values.isEmpty { return nil }
    let sorted = values.sorted { ExactString($0.key) < ExactString($1.key) }
    return .object(JSONObject(sorted.map { ($0.key, json($0.value)) }))
  }

  private static func json(_ bytes: [UInt8]) -> JSONValue {
    if let text = String(validating: bytes, as: UTF8.self) { return .string(text) }
    return .object(["hex": .string(hexadecimal(bytes))])
  }

  private static func json(_ score: Float) -> JSONValue {
    score.isFinite ? .number(Double(score)) : .string("\(score)")
  }

  /// Reads the JSON text.
  /// - Throws: ``TokenizerError`` with the place of what is wrong.
  public init(parsingJSON bytes: [UInt8], file: String? = nil) throws(TokenizerError) {
    let root: JSONNode
    do {
      root = JSONNode(value: try JSONValue.parse(bytes, file: file), path: "", file: file)
    } catch {
      throw .unreadable(error)
    }
    _ = try root.members()
    self.init(
      model: try root.required("model").string(), pre: try root.member("pre")?.string(),
      tokens: try Self.byteStrings(root.required("tokens")), scores: try Self.scores(root.member("scores")),
      types: try Self.integers(root.member("token_type")),
      merges: try root.member("merges").map(Self.byteStrings),
      ids: try Self.dictionary(root.member("ids")) { node throws(TokenizerError) in try node.int32() },
      flags: try Self.dictionary(root.member("flags")) { node throws(TokenizerError) in try node.bool() },
      charsmap: try Self.hexadecimal(root.member("precompiled_charsmap")),
      chatTemplate: try root.member("chat_template")?.string(),
      namedChatTemplates: try Self.dictionary(root.member("chat_templates")) { node throws(TokenizerError) in
        try node.string()
      })
  }

  private static func byteStrings(_ node: JSONNode) throws(TokenizerError) -> [[UInt8]] {
    var result: [[UInt8]] = []
    for element in try node.elements() {
      if let text = element.value.stringValue {
        result.append(Array(text.utf8))
      } else {
        result.append(try hexadecimal(element.required("hex")) ?? [])
      }
    }
    return result
  }

  private static func scores(_ node: JSONNode?) throws(TokenizerError) -> [Float]? {
    guard let node else { return nil }
    var result: [Float] = []
    for element in try node.elements() {
      guard
        let score = element.value.doubleValue.map({ Float($0) })
          ?? element.value.stringValue.flatMap(Float.init)
      else { throw element.invalid("a score") }
      result.append(score)
    }
    return result
  }

  private static func integers(_ node: JSONNode?) throws(TokenizerError) -> [Int32]? {
    guard let node else { return nil }
    var result: [Int32] = []
    for element in try node.elements() { result.append(try element.int32()) }
    return result
  }

  private static func dictionary<Value>(
    _ node: JSONNode?, _ read: (JSONNode) throws(TokenizerError) -> Value
  ) throws(TokenizerError) -> [String: Value] {
    var result: [String: Value] = [:]
    guard let node else { return result }
    for (key, value) in try node.members() {
      result[key] = try read(JSONNode(value: value, path: "\(node.path).\(key)", file: node.file))
    }
    return result
  }

  private static func hexadecimal(_ bytes: [UInt8]) -> String {
    let digits = Array("0123456789ABCDEF".utf8)
    var text: [UInt8] = []
    text.reserveCapacity(bytes.count * 2)
    for byte in bytes { text += [digits[Int(byte >> 4)], digits[Int(byte & 15)]] }
    return String(decoding: text, as: UTF8.self)
  }

  private static func hexadecimal(_ node: JSONNode?) throws(TokenizerError) -> [UInt8]? {
    guard let node else { return nil }
    let digits = Array(try node.string().utf8)
    guard digits.count.isMultiple(of: 2) else { throw node.invalid("pairs of hexadecimal digits") }
    var result: [UInt8] = []
    result.reserveCapacity(digits.count / 2)
    for index in stride(from: 0, to: digits.count, by: 2) {
      guard let high = Metaspace.hexadecimalDigit(digits[index]),
        let low = Metaspace.hexadecimalDigit(digits[index + 1])
      else { throw node.invalid("pairs of hexadecimal digits") }
      result.append(high << 4 | low)
    }
    return result
  }
}
