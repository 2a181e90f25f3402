import SafeIO

extension TokenizerJSONReader {
  /// Reads `decoder`.
  func readDecoding(_ root: JSONNode) throws(TokenizerError) -> BytePairTokenizer.Decoding {
    let hint =
      "implemented are ByteLevel, and a Sequence of Replace (U+2581 by a space), ByteFallback, Fuse and Strip"
    guard let node = root.member("decoder") else {
      throw .unsupported(file: file, path: "decoder", found: "null", hint: hint)
    }
    var steps = try node.flattened("decoders")[...]
    if steps.count == 1, let step = steps.first, try step.type() == "ByteLevel" { return .byteLevel }
    guard let replace = steps.popFirst(), try replace.type() == "Replace" else {
      throw node.unsupported(hint, found: try node.type())
    }
    try expectReplacement(replace, of: Metaspace.text, by: " ", hint)
    var hasByteFallback = false
    var isFused = false
    var dropsFirstSpace = false
    for step in steps {
      switch try step.type() {
      case "ByteFallback" where !hasByteFallback && !isFused: hasByteFallback = true
      case "Fuse" where !isFused: isFused = true
      case "Strip" where isFused && !dropsFirstSpace:
        dropsFirstSpace = try readStrip(step, hint)
      default: throw step.unsupported(hint, found: try step.type())
      }
    }
    return .metaspace(hasByteFallback: hasByteFallback, dropsFirstSpace: dropsFirstSpace)
  }

  /// Whether a Strip drops one space at the start; anything else but nothing is refused.
  private func readStrip(_ step: JSONNode, _ hint: String) throws(TokenizerError) -> Bool {
    let content = try step.required("content")
    guard content.value == .string(" ") else { throw content.unsupported(hint) }
    let stop = try step.required("stop")
    guard stop.value == .integer(0) else { throw stop.unsupported("only 0 is implemented") }
    let start = try step.required("start")
    switch start.value {
    case .integer(0): return false
    case .integer(1): return true
    default: throw start.unsupported("implemented are 0 and 1")
    }
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
      default:
        throw step.unsupported(
          "implemented are ByteLevel and one TemplateProcessing", found: try step.type())
      }
    }
    return template ?? ([], [])
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
