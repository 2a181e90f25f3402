import Evaluation
import Glibc
import SafeIO
import Testing

@Suite("The report page")
struct ReportTests {
  /// A model with made-up figures that fit together.
  static func model(
    _ name: String, bytes: Int, bits: Double, perplexity: Double, divergence: Double?, decode: Double?
  ) -> ModelMeasurement {
    ModelMeasurement(
      name: name, fileByteCount: bytes, bitsPerWeight: bits,
      perplexity: PerplexityResult(
        perplexity: perplexity, perplexityError: perplexity * 0.009, tokens: 83385),
      divergence: divergence.map {
        DivergenceResult(
          mean: $0, error: $0 * 0.01, median: $0 * 0.6, p99: $0 * 6, maximum: $0 * 40,
          top1Agreement: 1 - 2 * $0)
      },
      speed: decode.map {
        ModelMeasurement.Speed(
          prefill: $0 * 7, decode: $0, peakByteCount: bytes * 2, timeToFirstToken: 12.5)
      })
  }

  static let base = model(
    "acorn bf16", bytes: 7_878_800, bits: 16, perplexity: 27.5, divergence: nil, decode: 900)
  static let models = [
    model("int8 g128", bytes: 4_600_000, bits: 8.125, perplexity: 27.51, divergence: 0.0006, decode: 1500),
    model(
      "int4 g128 rounded", bytes: 2_900_000, bits: 4.125, perplexity: 29.9, divergence: 0.081, decode: 2100),
    model("int4 g128 GPTQ", bytes: 2_900_000, bits: 4.125, perplexity: 28.7, divergence: 0.044, decode: 2100),
    model("int4 g32 GPTQ", bytes: 3_100_000, bits: 4.5, perplexity: 28.3, divergence: 0.031, decode: 2000),
  ]

  static func report(_ models: [ModelMeasurement] = models) -> ComparisonReport {
    ComparisonReport(
      title: "Sample <figures> & more", base: base, models: models,
      facts: [.init("text", "Texts/evaluation.txt, 327 windows of 512 tokens"), .init("threads", "2")],
      commands: ["adze compare acorn a.adze b.adze --corpus evaluation.txt --report report.html"],
      digests: [.init("a.adze", String(repeating: "0123456789abcdef", count: 4))],
      notes: ["1 of 57 layers fell back to rounding."])
  }

  /// Checks that tags nest and returns the names of the elements.
  static func elements(of page: String) throws -> [String] {
    var open: [String] = []
    var names: [String] = []
    var rest = page[...]
    while let start = rest.firstIndex(of: "<") {
      let end = try #require(rest[start...].firstIndex(of: ">"), "a tag that does not end")
      let tag = rest[rest.index(after: start)..<end]
      rest = rest[rest.index(after: end)...]
      if tag.hasPrefix("!") { continue }
      if tag.hasPrefix("/") {
        try #require(
          open.popLast() == String(tag.dropFirst()), "</\(tag.dropFirst())> closes another element")
        continue
      }
      let name = String(tag.prefix { $0 != " " && $0 != "/" })
      try #require(tag.split(separator: "\"", omittingEmptySubsequences: false).count % 2 == 1)
      names.append(name)
      if !tag.hasSuffix("/") { open.append(name) }
    }
    try #require(open.isEmpty, "elements left open: \(open)")
    return names
  }

  @Test("Tags balance, everything is there, nothing is fetched")
  func wellFormed() throws {
    let page = ReportTests.report().html
    let names = try ReportTests.elements(of: page)
    #expect(names.count { $0 == "svg" } == 4)
    #expect(names.count { $0 == "tr" } == 6)
    #expect(!names.contains("script") && !names.contains("img") && !names.contains("link"))
    #expect(!page.contains("http") && !page.contains("url(") && !page.contains("@import"))
    #expect(page.contains("Sample &lt;figures&gt; &amp; more"))
    for model in ReportTests.models { #expect(page.contains(model.name)) }
    #expect(!page.contains("nan") && !page.contains("inf<"))
    // For looking at it with one's own eyes.
    if let path = unsafe getenv("ADZE_REPORT_SAMPLE") {
      try AtomicFile.write(to: unsafe String(cString: path)) { try $0.write(page) }
    }
  }

  @Test("The same figures give the same page")
  func deterministic() { #expect(ReportTests.report().html == ReportTests.report().html) }

  @Test("Names from outside cannot leave their place")
  func hostileNames() throws {
    let name = "</text><script>alert(\"x\")</script>\u{0}\u{202E}&"
    var model = ReportTests.models[0]
    model.name = name
    let page = ReportTests.report([model]).html
    let names = try ReportTests.elements(of: page)
    #expect(!names.contains("script"))
    #expect(!page.unicodeScalars.contains { $0.value == 0 || $0.value == 0x202E })
  }

  @Test("Pages without models, without speed, with figures that are not finite")
  func gaps() throws {
    let empty = try ReportTests.elements(of: ReportTests.report([]).html)
    #expect(!empty.contains("svg"))
    var base = ReportTests.base
    base.speed = nil
    var broken = ReportTests.model(
      "x", bytes: 0, bits: 0, perplexity: .infinity, divergence: .infinity, decode: nil)
    broken.perplexity.perplexityError = .nan
    let report = ComparisonReport(title: "t", base: base, models: [broken])
    #expect(try ReportTests.elements(of: report.html).contains("table"))
    let same = ReportTests.model("y", bytes: 1, bits: 1, perplexity: 1, divergence: 0, decode: 0)
    #expect(try ReportTests.elements(of: ReportTests.report([same, same]).html).count { $0 == "svg" } == 4)
  }
}
