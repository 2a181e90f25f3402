/// The patterns that have scanners.
extension SplitPattern {
  /// Every pattern that has a scanner.
  static let known: [SplitPattern] = [
    gpt2, llama3, qwen2, qwen35, seedCoder, plainWords, digitRunWords, gpt4o, tekken, caseDigits, deepSeekV3,
    singleDigits, digitTriples, digitRuns, asciiTriples, digitGroupsFromRight, digitGroupsToBoundary,
    lineEnds,
    lines, cjk, cjkWide, spacedLetters, spacedPunctuation, deepSeekLetters, deepSeekPunctuation,
    trailingSpaces, numberGroups, asianScripts, sparkWords,
    falconPunctuation, defaultPunctuation, bloom,
  ]

  private static let contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
  private static let spelledContractions = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
  private static let ends = #"|\s*[\r\n]+|\s+(?!\S)|\s+"#

  /// A pattern with contractions in both spellings.
  private static func words(
    _ name: String, _ text: (_ contractions: String) -> String, others: [String] = [],
    _ end: @escaping Match
  ) -> SplitPattern {
    SplitPattern(
      name: name, texts: [text(contractions), text(spelledContractions)] + others, method: .everywhere(end))
  }

  /// GPT-2 and everything that uses ByteLevel with `use_regex`.
  static let gpt2 = SplitPattern(
    name: "gpt2",
    texts: [
      #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#,
      #"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#,
    ],
    method: .everywhere { text, start, classes in gpt2End(text, start, classes) })

  /// Llama 3: numbers in groups of three, line ends kept with what is before them.
  static let llama3 = words(
    "llama3",
    { $0 + #"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"# + ends }
  ) { text, start, classes in
    llama3End(text, start, classes, WordRules())
  }

  /// Qwen 2: as Llama 3, but every digit on its own.
  static let qwen2 = words(
    "qwen2", { $0 + #"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"# + ends },
    others: [
      #"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*"#
        + #"|\s*[\r\n]|\s+(?!\S)|\s+"#
    ]
  ) { text, start, classes in
    llama3End(text, start, classes, WordRules(digitLimit: 1))
  }

  /// Qwen 3.5: as Qwen 2, with marks as part of words.
  static let qwen35 = words(
    "qwen35",
    { $0 + #"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"# + ends }
  ) { text, start, classes in
    llama3End(text, start, classes, WordRules(digitLimit: 1, joinsMarks: true))
  }

  /// Seed-Coder: as Qwen 2, without line ends after punctuation.
  static let seedCoder = words(
    "seed-coder",
    { $0 + #"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+"# + ends },
    others: [
      contractions
        + "|[^\r\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\r\n]+|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"
    ]
  ) { text, start, classes in
    llama3End(text, start, classes, WordRules(digitLimit: 1, keepsLineEnds: false))
  }

  /// As Qwen 2, without contractions.
  static let plainWords = SplitPattern(
    name: "plain-words",
    texts: [#"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"# + ends],
    method: .everywhere { text, start, classes in
      llama3End(text, start, classes, WordRules(digitLimit: 1, hasContractions: false))
    })

  /// As Llama 3, with whole numbers.
  static let digitRunWords = words(
    "digit-run-words",
    { $0 + #"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*"# + ends }
  ) { text, start, classes in
    llama3End(text, start, classes, WordRules(digitLimit: .max))
  }

  private static let upper = #"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"#
  private static let lower = #"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"#

  private static func cased(_ contractions: String, _ digits: String) -> String {
    let prefix = #"[^\r\n\p{L}\p{N}]?"#
    return prefix + upper + "*" + lower + "+" + contractions + "|" + prefix + upper + "+" + lower + "*"
      + contractions + "|" + digits + #"| ?[^\s\p{L}\p{N}]+[\r\n/]*"# + ends
  }

  /// GPT-4o, Llama 4.
  static let gpt4o = words("gpt-4o", { cased($0 + "?", #"\p{N}{1,3}"#) }) { text, start, classes in
    caseEnd(text, start, classes, digitLimit: 3, hasContractions: true)
  }

  /// Mistral's Tekken: as GPT-4o without contractions, every digit on its own.
  static let tekken = SplitPattern(
    name: "tekken", texts: [cased("", #"\p{N}"#)],
    method: .everywhere { text, start, classes in
      caseEnd(text, start, classes, digitLimit: 1, hasContractions: false)
    })

  /// As GPT-4o, every digit on its own.
  static let caseDigits = words("cased-digits", { cased($0 + "?", #"\p{N}"#) }) { text, start, classes in
    caseEnd(text, start, classes, digitLimit: 1, hasContractions: true)
  }

  /// The pattern with line ends spelled in two ways.
  private static func deepSeek(_ first: String, _ second: String) -> String {
    let signs = ##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^"##
    let words = #"\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+["#
    let rest = #"]+|\s+(?!\S)|\s+"#
    return signs + first + words + second + #"]*|\s*["# + second + rest
  }

  /// The last of DeepSeek V3's three.
  static let deepSeekV3 = SplitPattern(
    name: "deepseek-v3",
    texts: [
      deepSeek("\r\n", "\r\n"), deepSeek("\\r\\n", "\\r\\n"), deepSeek("\r\n", "\\r\\n"),
      deepSeek("\\r\\n", "\r\n"),
    ],
    method: .somewhere { text, start, classes in deepSeekEnd(text, start, classes, keepsLineEnds: true) })

  /// Every digit on its own.
  static let singleDigits = SplitPattern(
    name: "single-digits", texts: [#"\p{N}"#, #"\p{N}{1}"#],
    method: .somewhere(classRun(category(UnicodeClasses.number), limit: 1)))

  /// Numbers in groups of up to three.
  static let digitTriples = SplitPattern(
    name: "digit-triples", texts: [#"\p{N}{1,3}"#],
    method: .somewhere(classRun(category(UnicodeClasses.number), limit: 3)))

  /// Whole numbers.
  static let digitRuns = SplitPattern(
    name: "digit-runs", texts: [#"\p{N}+"#],
    method: .somewhere(classRun(category(UnicodeClasses.number))))

  /// Groups of exactly three digits 0 to 9.
  static let asciiTriples = SplitPattern(
    name: "ascii-triples", texts: ["[0-9][0-9][0-9]", "[0-9]{3}"],
    method: .somewhere(classRun(list("0-9"), minimum: 3, limit: 3)))

  private static let isDecimal: ScalarClass = { value, flags in
    if value < 0x80 { return (0x30...0x39).contains(value) }
    return flags & UnicodeClasses.number != 0
      && Unicode.Scalar(value)?.properties.generalCategory == .decimalNumber
  }

  /// Digits in groups of three from the right.
  static let digitGroupsFromRight = SplitPattern(
    name: "digit-groups", texts: [#"(?=(\d{3})+(?!\d))"#],
    method: .ranges { text, _, ranges in
      digitGroups(text, isDecimal, needsBoundary: false, into: &ranges)
    })

  /// Digits in groups of three from the right, unless a word goes on after them.
  static let digitGroupsToBoundary = SplitPattern(
    name: "bounded-digit-groups", texts: [#"\d{1,3}(?=(?:\d{3})*\b)"#],
    method: .ranges { text, _, ranges in digitGroups(text, isDecimal, needsBoundary: true, into: &ranges) })

  /// Single line ends.
  static let lineEnds = SplitPattern(
    name: "line-ends", texts: [#"[\r\n]"#, "[\r\n]"],
    method: .somewhere(classRun(category(UnicodeClasses.newline), limit: 1)))

  /// Lines, and runs of line ends between them.
  static let lines = SplitPattern(
    name: "lines", texts: [#"[^\n]+|[\n]+"#, "[^\n]+|[\n]+"],
    method: .everywhere { text, start, _ in
      var end = start + 1
      while end < text.count, (text[end] == 0x0A) == (text[start] == 0x0A) { end += 1 }
      return end
    })

  private static let hanAndKana = "\u{4E00}-\u{9FA5}\u{3040}-\u{309F}\u{30A0}-\u{30FF}"

  /// Han and kana as DeepSeek V3 has it.
  static let cjk = SplitPattern(
    name: "cjk", texts: ["[" + hanAndKana + "]+"], method: .somewhere(classRun(list(hanAndKana))))

  private static let wideScripts = "\u{4E00}-\u{9FA5}\u{800}-\u{4E00}\u{AC00}-\u{D7FF}"

  /// A wide range of scripts as DeepSeek has it.
  static let cjkWide = SplitPattern(
    name: "cjk-wide", texts: ["[" + wideScripts + "]+"], method: .somewhere(classRun(list(wideScripts))))

  private static let isSpace = category(UnicodeClasses.space)

  /// `\s?\p{L}+`.
  static let spacedLetters = SplitPattern(
    name: "spaced-letters", texts: [#"\s?\p{L}+"#],
    method: .somewhere(classRun(prefix: isSpace, category(UnicodeClasses.letter))))

  /// `\s?\p{P}+`.
  static let spacedPunctuation = SplitPattern(
    name: "spaced-punctuation", texts: [#"\s?\p{P}+"#],
    method: .somewhere(classRun(prefix: isSpace, category(UnicodeClasses.punctuation))))

  private static let bicameralLetters =
    "A-Za-z\u{B5}\u{C0}-\u{D6}\u{D8}-\u{F6}\u{F8}-\u{1BA}\u{1BC}-\u{1BF}\u{1C4}-\u{293}\u{295}-"
    + "\u{2AF}\u{370}-\u{373}\u{376}\u{377}\u{37B}-\u{37D}\u{37F}\u{386}\u{388}-\u{38A}\u{38C}\u{38E}-"
    + "\u{3A1}\u{3A3}-\u{3F5}\u{3F7}-\u{481}\u{48A}-\u{52F}\u{531}-\u{556}\u{10A0}-\u{10C5}\u{13A0}-"
    + "\u{13F5}\u{13F8}-\u{13FD}\u{1C90}-\u{1CBA}\u{1CBD}-\u{1CBF}\u{1D00}-\u{1D2B}\u{1D6B}-\u{1D77}"
    + "\u{1D79}-\u{1D9A}\u{1E00}-\u{1F15}\u{1F18}-\u{1F1D}\u{1F20}-\u{1F45}\u{1F48}-\u{1F4D}\u{1F50}-"
    + "\u{1F57}\u{1F59}\u{1F5B}\u{1F5D}\u{1F5F}-\u{1F7D}\u{1F80}-\u{1FB4}\u{1FB6}-\u{1FBC}\u{1FBE}"
    + "\u{1FC2}-\u{1FC4}\u{1FC6}-\u{1FCC}\u{1FD0}-\u{1FD3}\u{1FD6}-\u{1FDB}\u{1FE0}-\u{1FEC}\u{1FF2}-"
    + "\u{1FF4}\u{1FF6}-\u{1FFC}\u{2102}\u{2107}\u{210A}-\u{2113}\u{2115}\u{2119}-\u{211D}\u{2124}"
    + "\u{2126}\u{2128}\u{212A}-\u{212D}\u{212F}-\u{2134}\u{2139}\u{213C}-\u{213F}\u{2145}-\u{2149}"
    + "\u{214E}\u{2183}\u{2184}\u{2C00}-\u{2C7B}\u{2C7E}-\u{2CE4}\u{2CEB}-\u{2CEE}\u{2CF2}\u{2CF3}"
    + "\u{A640}-\u{A66D}\u{A680}-\u{A69B}\u{A722}-\u{A76F}\u{A771}-\u{A787}\u{A78B}-\u{A78E}\u{AB70}-"
    + "\u{ABBF}\u{FB00}-\u{FB06}\u{FB13}-\u{FB17}\u{FF21}-\u{FF3A}\u{FF41}-\u{FF5A}\u{10400}-\u{1044F}"
    + "\u{104B0}-\u{104D3}\u{104D8}-\u{104FB}\u{10C80}-\u{10CB2}\u{10CC0}-\u{10CF2}\u{118A0}-\u{118DF}"
    + "\u{1E900}-\u{1E943}"

  /// The letters of scripts with two cases, as DeepSeek LLM lists them.
  static let deepSeekLetters = SplitPattern(
    name: "deepseek-letters", texts: [#"\s?["# + bicameralLetters + "]+"],
    method: .somewhere(classRun(prefix: isSpace, list(bicameralLetters))))

  private static let marksAndLetters =
    "!-/:-~\u{FF01}-\u{FF0F}\u{FF1A}-\u{FF5E}\u{2018}-\u{201F}\u{3000}-\u{3002}"

  /// Punctuation as DeepSeek LLM lists it; U+3000, which is white space, may be part of it or before it.
  static let deepSeekPunctuation = SplitPattern(
    name: "deepseek-punctuation", texts: [#"\s?["# + marksAndLetters + "]+"],
    method: .somewhere(classRun(prefix: isSpace, list(marksAndLetters))))

  /// `\s+$`.
  static let trailingSpaces = SplitPattern(
    name: #"\s+$"#, texts: [],
    method: .ranges { text, classes, ranges in trailingSpace(text, classes, into: &ranges) })

  /// The first of Falcon's.
  static let falconPunctuation = SplitPattern(
    name: "falcon-punctuation", texts: [#"[\p{P}\$\+<=>\^~\|`]+"#],
    method: .somewhere(classRun(list("$+<=>^~|`", orClass: UnicodeClasses.punctuation))))

  /// The first of what GGUF calls `default`.
  static let defaultPunctuation = SplitPattern(
    name: "default-punctuation", texts: [#"[\p{P}\$\+<=>\^~\|]+"#],
    method: .somewhere(classRun(list("$+<=>^~|", orClass: UnicodeClasses.punctuation))))

  private static let stops = ".,!?\u{2026}\u{3002}\u{FF0C}\u{3001}\u{964}\u{6D4}\u{60C}"

  /// BLOOM: words that end before white space and some punctuation.
  static let bloom = SplitPattern(
    name: "bloom", texts: [" ?[^(\\s|" + stops + ")]+", " ?[^(\\s|[" + stops + "])]+"],
    method: .somewhere(
      classRun(prefix: { value, _ in value == 0x20 }, not(list("(|)" + stops, orClass: UnicodeClasses.space)))
    ))

  /// Numbers in groups of three from the right.
  static let numberGroups = SplitPattern(
    name: #"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))"#, texts: [],
    method: .ranges { text, _, ranges in
      digitGroups(text, category(UnicodeClasses.number), needsBoundary: false, into: &ranges)
    })

  private static let asian =
    "\u{4E00}-\u{9FFF}\u{3400}-\u{4DBF}\u{F900}-\u{FAFF}\u{3040}-\u{309F}\u{30A0}-\u{30FF}\u{FF65}-"
    + "\u{FF9F}\u{2F00}-\u{2FDF}\u{E40}-\u{E7F}\u{E80}-\u{EFF}\u{1780}-\u{17FF}\u{1000}-\u{109F}"
    + "\u{AA60}-\u{AA7F}\u{A9E0}-\u{A9FF}\u{AC00}-\u{D7AF}\u{1100}-\u{11FF}"

  /// Scripts without spaces as AFMoE lists them.
  static let asianScripts = SplitPattern(
    name: "asian-scripts", texts: ["[" + asian + "]+"], method: .somewhere(classRun(list(asian))))

  /// As the last of DeepSeek V3's, with line ends on their own.
  static let sparkWords = SplitPattern(
    name: ##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##
      + #"| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+"#, texts: [],
    method: .somewhere { text, start, classes in deepSeekEnd(text, start, classes, keepsLineEnds: false) })
}
