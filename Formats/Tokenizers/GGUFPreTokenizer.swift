/// What a name in `tokenizer.ggml.pre` stands for.
///
/// Which name means which pattern is as llama.cpp has it; where its patterns are simplified (it cannot ask for
/// the case of letters beyond ASCII) the model's own pattern is used.
struct GGUFPreTokenizer: Sendable {
  /// The names, all of which mean the same.
  let names: [String]
  /// Patterns that split one after the other.
  var patterns: [SplitPattern] = []
  /// Patterns that have no scanner, in the place of ``patterns``.
  var expressions: [String] = []
  /// Whether a word that is a token needs no merges.
  var ignoresMerges = false
  /// Whether the beginning of the sequence is added unless the file says otherwise.
  var addsBegin = false
  /// Whether symbols are scalars, with U+2581 for spaces, and not bytes.
  var isScalar = false

  /// The patterns.
  /// - Throws: ``TokenizerError`` when PCRE2 refuses one.
  func steps(file: String?) throws(TokenizerError) -> [SplitPattern] {
    if expressions.isEmpty { return patterns }
    var steps: [SplitPattern] = []
    for expression in expressions {
      do {
        steps.append(try SplitPattern(expression: expression))
      } catch {
        throw .unsupported(
          file: file, path: "tokenizer.ggml.pre", found: names[0],
          hint: "its pattern cannot be run: \(error.problem)")
      }
    }
    return steps
  }

  /// What `name` stands for.
  static func named(_ name: String) -> GGUFPreTokenizer? { byName[name] }

  private static let byName = Dictionary(
    all.flatMap { row in row.names.map { ($0, row) } }, uniquingKeysWith: { first, _ in first })

  /// Merges over scalars with lines split.
  static let scalarPairs = GGUFPreTokenizer(
    names: ["gemma4", "granite-embed-multi-311m"], patterns: [.lines], addsBegin: true, isScalar: true)

  private static let kimiUpper = #"(?:(?!\p{Han})[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])"#
  private static let kimiLower = #"(?:(?!\p{Han})[\p{Ll}\p{Lm}\p{Lo}\p{M}])"#
  private static let contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"

  private static let kimi =
    #"[\p{Han}]+|[^\r\n\p{L}\p{N}]?"# + kimiUpper + "*" + kimiLower + "+" + contractions + "?|"
    + #"[^\r\n\p{L}\p{N}]?"# + kimiUpper + "+" + kimiLower + "*" + contractions
    + #"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#

  private static let jais2 =
    contractions + #"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"#
    + #"\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|"#
    + #"\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}"#

  private static let exaoneMoE =
    contractions + #"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}|"#
    + #" ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"#

  private static let youtuScripts =
    "[\u{AC00}-\u{D7A3}\u{3131}-\u{318E}]+|[\u{FF01}\u{2026}\u{201C}\u{201D}\u{2018}\u{2019}\u{2014}"
    + "\u{FF1A}\u{FF1B}\u{FF0C}\u{3001}-\u{303F}\u{FE30}-\u{FE4F}]+|[\u{3105}-\u{312F}]+|[\u{4E00}-"
    + "\u{9FA5}\u{3040}-\u{309F}\u{30A0}-\u{30FF}]+"

  /// The rows.
  static let all: [GGUFPreTokenizer] = [
    GGUFPreTokenizer(
      names: ["default"], patterns: [.defaultPunctuation, .gpt2, .digitRuns, .asciiTriples]),
    GGUFPreTokenizer(
      names: [
        "gpt-2", "phi-2", "jina-es", "jina-de", "gigachat", "jina-v2-es", "jina-v2-de", "a.x-4.0", "mellum",
        "modern-bert", "mpt", "olmo", "jais", "trillion", "granite-docling", "exaone4", "jina-v1-en",
        "jina-v2-code", "roberta-bpe",
      ], patterns: [.gpt2]),
    GGUFPreTokenizer(
      names: [
        "llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
        "jina-v5-nano",
      ], patterns: [.llama3], ignoresMerges: true, addsBegin: true),
    GGUFPreTokenizer(names: ["dbrx", "smaug-bpe", "chatglm-bpe"], patterns: [.llama3]),
    GGUFPreTokenizer(names: ["glm4", "glm5"], patterns: [.llama3], ignoresMerges: true),
    GGUFPreTokenizer(
      names: [
        "qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "stablelm2", "megrez", "hunyuan", "solar-open",
        "grok-2",
        "bailingmoe", "bailingmoe2", "llada-moe",
      ], patterns: [.qwen2]),
    GGUFPreTokenizer(names: ["qwen35"], patterns: [.qwen35]),
    GGUFPreTokenizer(names: ["seed-coder"], patterns: [.seedCoder]),
    GGUFPreTokenizer(names: ["ufakzeka"], patterns: [.plainWords]),
    GGUFPreTokenizer(names: ["minicpm5"], patterns: [.digitTriples, .digitRunWords], ignoresMerges: true),
    GGUFPreTokenizer(names: ["laguna"], patterns: [.lines, .qwen2]),
    GGUFPreTokenizer(
      names: ["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], patterns: [.gpt4o]),
    GGUFPreTokenizer(names: ["granite-embed-multi-97m"], patterns: [.gpt4o], ignoresMerges: true),
    GGUFPreTokenizer(names: ["tekken"], patterns: [.tekken], ignoresMerges: true, addsBegin: true),
    GGUFPreTokenizer(names: ["tiny_aya", "cohere2moe"], patterns: [.digitGroupsToBoundary, .gpt4o]),
    GGUFPreTokenizer(
      names: [
        "starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2",
      ], patterns: [.singleDigits, .gpt2]),
    GGUFPreTokenizer(names: ["falcon"], patterns: [.falconPunctuation, .gpt2, .asciiTriples]),
    GGUFPreTokenizer(
      names: ["deepseek-llm"],
      patterns: [.lineEnds, .deepSeekLetters, .deepSeekPunctuation, .trailingSpaces, .cjkWide, .digitRuns]),
    GGUFPreTokenizer(
      names: ["deepseek-coder"],
      patterns: [.lineEnds, .spacedLetters, .spacedPunctuation, .cjkWide, .singleDigits]),
    GGUFPreTokenizer(
      names: ["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
      patterns: [.digitTriples, .cjk, .deepSeekV3]),
    GGUFPreTokenizer(
      names: ["spark2_5"], patterns: [.digitTriples, .cjk, .sparkWords, .singleDigits]),
    GGUFPreTokenizer(
      names: ["afmoe"], patterns: [.numberGroups, .asianScripts, .deepSeekV3]),
    GGUFPreTokenizer(names: ["bloom", "poro-chat", "gpt3-finnish"], patterns: [.bloom]),
    GGUFPreTokenizer(names: ["viking"], patterns: [.bloom, .singleDigits]),
    GGUFPreTokenizer(names: ["superbpe"], patterns: [.digitRuns, .digitGroupsFromRight]),
    GGUFPreTokenizer(names: ["youtu"], expressions: [youtuScripts, caseDigitsText], ignoresMerges: true),
    GGUFPreTokenizer(names: ["kimi-k2"], expressions: [kimi]),
    GGUFPreTokenizer(names: ["jais-2"], expressions: [jais2]),
    GGUFPreTokenizer(names: ["exaone-moe"], expressions: [exaoneMoE]),
    GGUFPreTokenizer(
      names: ["chameleon"],
      expressions: [
        "<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )", #"\p{N}"#,
        #"[\p{P}!-/:-@\[-`{-~]"#, SplitPattern.gpt2.texts[0],
      ], addsBegin: true),
    scalarPairs,
    GGUFPreTokenizer(names: ["sarvam-moe"], patterns: [.lines], isScalar: true),
  ]

  private static let caseDigitsText = SplitPattern.caseDigits.texts[0]
}
