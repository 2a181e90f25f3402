import SafeIO

extension TokenizerJSONReader {
  /// Bytes of the longest text that is replaced or put in its place.
  private static let maximumReplacementByteCount = 256

  /// Reads `normalizer`.
  func readNormalization(_ root: JSONNode) throws(TokenizerError) -> [NormalizationStep] {
    guard let node = root.member("normalizer") else { return [] }
    let nodes = try node.flattened("normalizers")
    try checkStepCount(nodes.count, node)
    var steps: [NormalizationStep] = []
    for node in nodes { steps.append(try readStep(node)) }
    return steps
  }

  /// Checks the number of steps.
  func checkStepCount(_ count: Int, _ node: JSONNode) throws(TokenizerError) {
    guard count <= Self.maximumStepCount else {
      throw .limit(file: file, path: node.path, limit: Self.maximumStepCount, found: count)
    }
  }

  private func readStep(_ node: JSONNode) throws(TokenizerError) -> NormalizationStep {
    let type = try node.type()
    if let form = UnicodeNormalization.Form(rawValue: type) { return .unicode(form) }
    switch type {
    case "Lowercase": return .lowercase
    case "Nmt": return .nmt
    case "StripAccents": return .stripAccents
    case "Strip":
      return .strip(
        left: try node.flag("strip_left", default: true), right: try node.flag("strip_right", default: true))
    case "Prepend": return .prepend(try shortText(node.required("prepend")))
    case "Replace": return try readReplacement(node)
    case "Precompiled":
      let map = try node.required("precompiled_charsmap")
      guard let bytes = PackedIntegers.bytes(try map.string()) else { throw map.invalid("base64") }
      return .charsmap(try Charsmap(bytes, path: map.path, file: file))
    case "BertNormalizer":
      let lowercases = try node.flag("lowercase", default: true)
      return .bert(
        BERTNormalizer(
          cleansText: try node.flag("clean_text", default: true),
          splitsHan: try node.flag("handle_chinese_chars", default: true),
          stripsAccents: try node.flag("strip_accents", default: lowercases), lowercases: lowercases))
    default:
      throw node.unsupported(
        "implemented are NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Prepend, Replace, Precompiled, "
          + "BertNormalizer, Nmt and Sequence", found: type)
    }
  }

  /// A text that is not long.
  func shortText(_ node: JSONNode) throws(TokenizerError) -> [UInt8] {
    let text = Array(try node.string().utf8)
    guard text.count <= Self.maximumReplacementByteCount else {
      throw .limit(file: file, path: node.path, limit: Self.maximumReplacementByteCount, found: text.count)
    }
    return text
  }

  private func readReplacement(_ node: JSONNode) throws(TokenizerError) -> NormalizationStep {
    let content = try shortText(node.required("content"))
    let pattern = try node.required("pattern")
    if let text = pattern.member("String") {
      let old = try shortText(text)
      guard !old.isEmpty else { throw text.invalid("a text that is not empty") }
      return .replace(old, by: content)
    }
    return .replaceMatches(try readExpression(pattern.required("Regex")), by: content)
  }

  /// Reads a regular expression.
  func readExpression(_ node: JSONNode) throws(TokenizerError) -> SplitPattern {
    let text = try node.string()
    do {
      return try SplitPattern(expression: text)
    } catch {
      throw node.unsupported("the regular expression cannot be run: \(error.problem)")
    }
  }
}
