import SafeIO

/// A value of a JSON document that knows where it stands, for errors that name the place.
struct JSONNode {
  let value: JSONValue
  let path: String
  let file: String?

  /// The member `key`; nil when it is absent or null.
  func member(_ key: String) -> JSONNode? {
    guard let value = value[key], !value.isNull else { return nil }
    return JSONNode(value: value, path: path.isEmpty ? key : "\(path).\(key)", file: file)
  }

  /// The member `key`.
  /// - Throws: ``TokenizerError/invalid(file:path:expected:found:)`` when it is absent or null.
  func required(_ key: String) throws(TokenizerError) -> JSONNode {
    guard let node = member(key) else {
      throw .invalid(
        file: file, path: path.isEmpty ? key : "\(path).\(key)", expected: "a value", found: "nothing")
    }
    return node
  }

  /// The elements of an array.
  func elements() throws(TokenizerError) -> [JSONNode] {
    guard let values = value.arrayValue else { throw invalid("an array") }
    return values.enumerated().map { JSONNode(value: $1, path: "\(path)[\($0)]", file: file) }
  }

  /// The members of an object.
  func members() throws(TokenizerError) -> JSONObject {
    guard let members = value.objectValue else { throw invalid("an object") }
    return members
  }

  /// The text of a string.
  func string() throws(TokenizerError) -> String {
    guard let text = value.stringValue else { throw invalid("a string") }
    return text
  }

  /// A truth value.
  func bool() throws(TokenizerError) -> Bool {
    guard let flag = value.boolValue else { throw invalid("true or false") }
    return flag
  }

  /// The truth value of a member, or `fallback` when it is absent.
  func flag(_ key: String, default fallback: Bool) throws(TokenizerError) -> Bool {
    guard let node = member(key) else { return fallback }
    return try node.bool()
  }

  /// A token id: not negative and within 32 bits.
  func tokenID() throws(TokenizerError) -> Int32 {
    guard let id = value.intValue, id >= 0, id < Int(Int32.max) else { throw invalid("a token id") }
    return Int32(id)
  }

  /// A number of 32 bits.
  func int32() throws(TokenizerError) -> Int32 {
    guard let value = value.intValue, let number = Int32(exactly: value) else {
      throw invalid("a number of 32 bits")
    }
    return number
  }

  /// The name of the kind of part this is.
  func type() throws(TokenizerError) -> String { try required("type").string() }

  /// What is found here, for messages.
  var found: String {
    switch value {
    case .string(let text): "\"\(text)\""
    case .integer(let value): "\(value)"
    case .number(let value): "\(value)"
    case .bool(let value): "\(value)"
    default: value.kindName
    }
  }

  /// An error: something else is expected here.
  func invalid(_ expected: String) -> TokenizerError {
    .invalid(file: file, path: path, expected: expected, found: found)
  }

  /// An error: Adze does not implement what is found here.
  func unsupported(_ hint: String, found: String? = nil) -> TokenizerError {
    .unsupported(file: file, path: path, found: found ?? self.found, hint: hint)
  }

  /// This part, or the parts of the sequence that it is, in order; `key` names the parts of a sequence.
  ///
  /// Sequences may hold sequences, as deep as the document's nesting is allowed to be.
  func flattened(_ key: String) throws(TokenizerError) -> [JSONNode] {
    guard try type() == "Sequence" else { return [self] }
    var result: [JSONNode] = []
    for part in try required(key).elements() { result += try part.flattened(key) }
    return result
  }
}
