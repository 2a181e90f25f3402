import SafeIO

extension TokenizerJSONReader {
  private static let decoders =
    "implemented are ByteLevel, Replace, ByteFallback, Metaspace, WordPiece, Strip, Fuse and Sequence"

  /// Reads `decoder`.
  func readDecoding(_ root: JSONNode) throws(TokenizerError) -> TokenDecoding {
    guard let node = root.member("decoder") else { return TokenDecoding(steps: [.spaced]) }
    let nodes = try node.flattened("decoders")
    try checkStepCount(nodes.count, node)
    var decoding = TokenDecoding()
    var isFused = false
    for step in nodes {
      let type = try step.type()
      switch type {
      case "Fuse": isFused = true
      case "Strip":
        let strip = try readStrip(step)
        if isFused { try strip.dropFirstSpace(&decoding, step) } else { decoding.steps.append(strip.step) }
      case _ where isFused: throw step.unsupported("after Fuse only Strip is implemented", found: type)
      default: decoding.steps.append(try readDecoder(step, type))
      }
    }
    return decoding
  }

  private func readDecoder(_ node: JSONNode, _ type: String) throws(TokenizerError) -> TokenDecoding.Step {
    switch type {
    case "ByteLevel": return .byteLevel
    case "ByteFallback": return .byteFallback
    case "Replace":
      let pattern = try node.required("pattern")
      guard let text = pattern.member("String") else {
        throw pattern.unsupported("only patterns of kind String are implemented")
      }
      let old = try shortText(text)
      guard !old.isEmpty else { throw text.invalid("a text that is not empty") }
      return .replace(old, by: try shortText(node.required("content")))
    case "Metaspace":
      let replacement = try node.required("replacement")
      guard replacement.value == .string(Metaspace.text) else {
        throw replacement.unsupported("only U+2581 is implemented")
      }
      guard let scheme = node.member("prepend_scheme") else {
        return .metaspace(dropsFirst: try node.flag("add_prefix_space", default: true))
      }
      return .metaspace(dropsFirst: try scheme.string() != "never")
    case "WordPiece":
      let prefix = node.member("prefix")
      return .wordPiece(
        prefix: try prefix.map(shortText) ?? Array("##".utf8),
        cleansUp: try node.flag("cleanup", default: true))
    default: throw node.unsupported(Self.decoders, found: type)
    }
  }

  /// What a Strip takes away.
  private struct StripRule {
    var content: [UInt8]
    var start: Int
    var stop: Int

    var step: TokenDecoding.Step { .strip(content, start: start, end: stop) }

    /// After Fuse it is about the whole text.
    func dropFirstSpace(_ decoding: inout TokenDecoding, _ node: JSONNode) throws(TokenizerError) {
      guard stop == 0, start <= 1, content == [0x20] else {
        throw node.unsupported(
          "after Fuse a Strip of at most one space at the start is implemented",
          found: "\(start) and \(stop) of \(String(decoding: content, as: UTF8.self))")
      }
      if start == 1 { decoding.dropsFirstSpace = true }
    }
  }

  private func readStrip(_ node: JSONNode) throws(TokenizerError) -> StripRule {
    let content = try node.required("content")
    let scalar = try shortText(content)
    guard try content.string().unicodeScalars.count == 1 else { throw content.invalid("one character") }
    func count(_ key: String) throws(TokenizerError) -> Int {
      let node = try node.required(key)
      guard let value = node.value.intValue, (0...1000).contains(value) else {
        throw node.invalid("a small number")
      }
      return value
    }
    return StripRule(content: scalar, start: try count("start"), stop: try count("stop"))
  }

  /// Reads `post_processor`: the tokens before and after a single text.
  func readTemplate(
    _ root: JSONNode
  ) throws(TokenizerError) -> (prefix: [Int32], suffix: [Int32]) {
    guard let node = root.member("post_processor") else { return ([], []) }
    var template: (prefix: [Int32], suffix: [Int32])?
    for step in try node.flattened("processors") {
      switch try step.type() {
      case "ByteLevel": continue
      case "TemplateProcessing" where template == nil: template = try readSingle(step)
      case "RobertaProcessing" where template == nil, "BertProcessing" where template == nil:
        template = (prefix: [try readPair(step, "cls")], suffix: [try readPair(step, "sep")])
      default:
        throw step.unsupported(
          "implemented are ByteLevel and one of TemplateProcessing, RobertaProcessing and BertProcessing",
          found: try step.type())
      }
    }
    return template ?? ([], [])
  }

  /// The id of a token that is written `["name", id]`.
  private func readPair(_ node: JSONNode, _ key: String) throws(TokenizerError) -> Int32 {
    let pair = try node.required(key)
    let elements = try pair.elements()
    guard elements.count == 2 else { throw pair.invalid("a name and an id") }
    return try elements[1].tokenID()
  }

  private func readSingle(_ node: JSONNode) throws(TokenizerError) -> (prefix: [Int32], suffix: [Int32]) {
    let single = try node.required("single")
    guard single.value.arrayValue != nil else { throw single.unsupported("a list of pieces is expected") }
    var prefix: [Int32] = []
    var suffix: [Int32] = []
    var isAfterText = false
    for piece in try single.elements() {
      if let token = piece.member("SpecialToken") {
        let ids = try readSpecialToken(node, try token.required("id"))
        if isAfterText { suffix += ids } else { prefix += ids }
      } else if let sequence = piece.member("Sequence") {
        let name = try sequence.required("id")
        guard name.value == .string("A"), !isAfterText else {
          throw name.unsupported("a template for a single text holds the sequence A once")
        }
        isAfterText = true
      } else {
        throw piece.invalid("a SpecialToken or a Sequence")
      }
    }
    guard isAfterText else { throw single.invalid("the sequence A") }
    return (prefix, suffix)
  }

  private func readSpecialToken(_ node: JSONNode, _ name: JSONNode) throws(TokenizerError) -> [Int32] {
    let text = try name.string()
    let tokens = try node.required("special_tokens")
    guard let token = tokens.member(text) else { throw name.invalid("a name among special_tokens") }
    var ids: [Int32] = []
    for id in try token.required("ids").elements() { ids.append(try id.tokenID()) }
    return ids
  }
}
