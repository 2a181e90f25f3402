import SafeIO

extension TokenizerJSONReader {
  /// The steps of a pre-tokenizer, and whether words are bytes in the byte alphabet.
  struct Splitting {
    var steps: [SplittingStep] = []
    var isByteLevel = false
  }

  private static let known =
    "implemented are Split, Digits, Punctuation, Whitespace, WhitespaceSplit, BertPreTokenizer, "
    + "CharDelimiterSplit, FixedLength, Metaspace, ByteLevel and Sequence"

  /// Reads `pre_tokenizer`.
  func readSplitting(_ root: JSONNode) throws(TokenizerError) -> Splitting {
    guard let node = root.member("pre_tokenizer") else { return Splitting() }
    let nodes = try node.flattened("pretokenizers")
    try checkStepCount(nodes.count, node)
    var splitting = Splitting()
    for node in nodes {
      if splitting.isByteLevel {
        // What comes after ByteLevel sees the byte alphabet, and so does the model.
        splitting.isByteLevel = false
        splitting.steps.append(.byteAlphabet)
      }
      splitting.steps += try readSteps(node, &splitting.isByteLevel)
    }
    return splitting
  }

  private func readSteps(_ node: JSONNode, _ isByteLevel: inout Bool) throws(TokenizerError)
    -> [SplittingStep]
  {
    let type = try node.type()
    switch type {
    case "ByteLevel":
      isByteLevel = true
      let prefix: [SplittingStep] = try node.flag("add_prefix_space", default: true) ? [.prefixSpace] : []
      let usesPattern = try node.flag("use_regex", default: true)
      return prefix + (usesPattern ? [.split(.gpt2, .isolated, isInverted: false)] : [])
    case "Metaspace": return [try readMetaspace(node)]
    case "Digits":
      if try node.flag("individual_digits", default: false) {
        return [.split(.singleDigits, .isolated, isInverted: false)]
      }
      return [.split(.singleDigits, .contiguous, isInverted: false)]
    case "Whitespace": return [.split(.wordsAndSigns, .removed, isInverted: true)]
    case "WhitespaceSplit": return [.split(.spaces, .removed, isInverted: false)]
    case "Punctuation":
      return [.split(.signs, try readBehavior(node, default: .isolated), isInverted: false)]
    case "BertPreTokenizer":
      return [.split(.spaces, .removed, isInverted: false), .split(.signs, .isolated, isInverted: false)]
    case "CharDelimiterSplit":
      let delimiter = try shortText(node.required("delimiter"))
      return [.split(.literal(delimiter), .removed, isInverted: false)]
    case "FixedLength":
      let length = node.member("length")
      guard let count = length == nil ? 5 : length?.value.intValue, count > 0 else {
        throw node.invalid("a length above 0")
      }
      return [.fixedLength(count)]
    case "Split": return [try readSplit(node)]
    default: throw node.unsupported(Self.known, found: type)
    }
  }

  private func readBehavior(
    _ node: JSONNode, default fallback: SplittingStep.Behavior?
  ) throws(TokenizerError) -> SplittingStep.Behavior {
    if let fallback, node.member("behavior") == nil { return fallback }
    let behavior = try node.required("behavior")
    guard let value = SplittingStep.Behavior(rawValue: try behavior.string()) else {
      throw behavior.unsupported(
        "implemented are \(SplittingStep.Behavior.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    return value
  }

  private func readSplit(_ node: JSONNode) throws(TokenizerError) -> SplittingStep {
    let pattern = try node.required("pattern")
    let split: SplitPattern
    if let text = pattern.member("String") {
      let literal = try shortText(text)
      guard !literal.isEmpty else { throw text.invalid("a text that is not empty") }
      split = .literal(literal)
    } else {
      split = try readExpression(pattern.required("Regex"))
    }
    return .split(
      split, try readBehavior(node, default: nil), isInverted: try node.flag("invert", default: false))
  }

  private func readMetaspace(_ node: JSONNode) throws(TokenizerError) -> SplittingStep {
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
}
