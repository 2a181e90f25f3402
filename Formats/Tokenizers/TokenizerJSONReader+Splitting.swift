import SafeIO

extension TokenizerJSONReader {
  private static let known =
    "implemented are Split by the patterns of "
    + "\(SplitPattern.all.map(\.name).joined(separator: ", ")), Digits, ByteLevel and Metaspace"

  /// Reads `normalizer` and `pre_tokenizer`.
  func readSplitting(_ root: JSONNode) throws(TokenizerError) -> BytePairTokenizer.WordSplitting {
    let normalized = try readNormalizer(root)
    guard let node = root.member("pre_tokenizer") else {
      guard let normalized else {
        throw .unsupported(
          file: file, path: "pre_tokenizer", found: "null",
          hint: "without a normalizer a pre-tokenizer is needed; " + Self.known)
      }
      return .metaspace(normalized, isSplit: false)
    }
    if normalized != nil {
      throw node.unsupported(
        "a normalizer that replaces spaces is implemented only without a pre-tokenizer",
        found: try node.type())
    }
    let steps = try node.flattened("pretokenizers")
    guard let last = steps.last else { throw node.invalid("at least one pre-tokenizer") }
    if steps.count == 1, try last.type() == "Metaspace" { return try readMetaspace(last) }
    var splits: [SplitPattern] = []
    for step in steps.dropLast() { splits.append(try readSplit(step)) }
    guard try last.type() == "ByteLevel" else {
      throw last.unsupported(
        "the last pre-tokenizer must be ByteLevel; " + Self.known, found: try last.type())
    }
    let addsPrefixSpace = try last.flag("add_prefix_space", default: true)
    if addsPrefixSpace, !splits.isEmpty {
      throw try last.required("add_prefix_space").unsupported("after a split only false is implemented")
    }
    if try last.flag("use_regex", default: true) { splits.append(.gpt2) }
    return .byteLevel(splits: splits, addsPrefixSpace: addsPrefixSpace)
  }

  /// Reads one step before the last.
  private func readSplit(_ step: JSONNode) throws(TokenizerError) -> SplitPattern {
    switch try step.type() {
    case "Digits":
      return try step.flag("individual_digits", default: false) ? .singleDigits : .digitRuns
    case "Split":
      let pattern = try step.required("pattern")
      guard let expression = pattern.member("Regex") else {
        throw pattern.unsupported("only patterns of kind Regex are implemented")
      }
      let text = try expression.string()
      guard let split = SplitPattern.all.first(where: { ExactString($0.text) == ExactString(text) }) else {
        throw expression.unsupported(
          "patterns are known by their exact text; " + Self.known
            + ". Others are not run, as a pattern may take "
            + "exponential time")
      }
      let behavior = try step.required("behavior")
      guard behavior.value == .string("Isolated") else {
        throw behavior.unsupported("only Isolated is implemented")
      }
      if try step.flag("invert", default: false) {
        throw try step.required("invert").unsupported("only false is implemented")
      }
      return split
    default: throw step.unsupported(Self.known, found: try step.type())
    }
  }

  private func readMetaspace(_ node: JSONNode) throws(TokenizerError) -> BytePairTokenizer.WordSplitting {
    let replacement = try node.required("replacement")
    guard replacement.value == .string(Metaspace.text) else {
      throw replacement.unsupported("only U+2581 is implemented")
    }
    let isSplit = try node.flag("split", default: true)
    guard let scheme = node.member("prepend_scheme") else {
      return .metaspace(try node.flag("add_prefix_space", default: true) ? .always : .never, isSplit: isSplit)
    }
    switch try scheme.string() {
    case "first": return .metaspace(.first, isSplit: isSplit)
    case "always": return .metaspace(.always, isSplit: isSplit)
    case "never": return .metaspace(.never, isSplit: isSplit)
    default: throw scheme.unsupported("implemented are first, always and never")
    }
  }

  /// Reads `normalizer`: null, or U+2581 in the place of spaces with or without one in front.
  private func readNormalizer(_ root: JSONNode) throws(TokenizerError) -> BytePairTokenizer.MetaspacePrefix? {
    guard let node = root.member("normalizer") else { return nil }
    let hint = "implemented are null, Replace of a space by U+2581, and the same after Prepend of U+2581"
    var steps = try node.flattened("normalizers")[...]
    if steps.isEmpty { return nil }
    var prefix = BytePairTokenizer.MetaspacePrefix.never
    if let step = steps.first, try step.type() == "Prepend" {
      let text = try step.required("prepend")
      guard text.value == .string(Metaspace.text) else { throw text.unsupported(hint) }
      prefix = .unconditional
      steps = steps.dropFirst()
    }
    guard let step = steps.popFirst() else { throw node.unsupported(hint, found: "Prepend alone") }
    guard try step.type() == "Replace" else { throw step.unsupported(hint, found: try step.type()) }
    try expectReplacement(step, of: " ", by: Metaspace.text, hint)
    if let step = steps.first { throw step.unsupported(hint, found: try step.type()) }
    return prefix
  }

  /// Checks that `step` replaces exactly `old` by `new`.
  func expectReplacement(
    _ step: JSONNode, of old: String, by new: String, _ hint: String
  ) throws(TokenizerError) {
    let pattern = try step.required("pattern")
    guard pattern.member("String")?.value == .string(old) else { throw pattern.unsupported(hint) }
    let content = try step.required("content")
    guard content.value == .string(new) else { throw content.unsupported(hint) }
  }
}
