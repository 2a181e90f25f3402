/// A comparison as one page for people: what came out, drawn and in a table, and how it was measured.
///
/// The page is a single file without scripts and without anything fetched from elsewhere; it follows the
/// reader's light or dark setting. The same values give the same bytes.
public struct ComparisonReport: Sendable {
  /// A name and a value in the account of how the figures came about.
  public struct Fact: Sendable, Equatable {
    /// What it is, such as `text`.
    public var name: String
    /// What it was, such as a path with a hash.
    public var value: String

    /// Creates a fact.
    public init(_ name: String, _ value: String) {
      self.name = name
      self.value = value
    }
  }

  /// Heading of the page.
  public var title: String
  /// What the models are compared with.
  public var base: ModelMeasurement
  /// The models.
  public var models: [ModelMeasurement]
  /// How it was measured: text, windows, machine, threads.
  public var facts: [Fact]
  /// Command lines that give these figures again.
  public var commands: [String]
  /// Files and their SHA-256 digests.
  public var digests: [Fact]
  /// Anything a reader must know, such as a layer that fell back.
  public var notes: [String]

  /// Creates a report.
  public init(
    title: String, base: ModelMeasurement, models: [ModelMeasurement], facts: [Fact] = [],
    commands: [String] = [],
    digests: [Fact] = [], notes: [String] = []
  ) {
    self.title = title
    self.base = base
    self.models = models
    self.facts = facts
    self.commands = commands
    self.digests = digests
    self.notes = notes
  }

  /// The page.
  public var html: String {
    let head = Markup(
      "head", [:],
      [
        Markup("meta", ["charset": "utf-8"]),
        Markup("meta", ["name": "viewport", "content": "width=device-width, initial-scale=1"]),
        Markup("title", text: title), Markup.style(ComparisonReport.styleSheet),
      ])
    let body = Markup(
      "body", [:], [Markup("main", [:], [heading, highlights] + noteList + charts + [table, account])])
    return "<!DOCTYPE html>\n" + Markup("html", ["lang": "en"], [head, body]).text + "\n"
  }

  private var heading: Markup {
    let count = models.count == 1 ? "1 model" : "\(models.count) models"
    let line =
      "\(count) against \(base.name), over \(NumberFormat.grouped(Double(base.perplexity.tokens))) predictions"
    return Markup("header", [:], [Markup("h1", text: title), Markup("p", text: line)])
  }

  private var noteList: [Markup] {
    guard !notes.isEmpty else { return [] }
    return [Markup("ul", ["class": "notes"], notes.map { Markup("li", text: $0) })]
  }

  private var charts: [Markup] {
    let drawings: [(String, String, Markup?)] = [
      (
        "What the bytes buy", "Lower and further left is better. The dashed line marks the size of the base.",
        ComparisonCharts.divergence(base: base, models: models)
      ),
      (
        "Perplexity", "With one standard error. The dashed line marks the base.",
        ComparisonCharts.perplexity(base: base, models: models)
      ),
      (
        "Reading a prompt", "Tokens a second; more is better.",
        ComparisonCharts.speed(base: base, models: models, label: "prefill speed") { $0.prefill }
      ),
      (
        "Writing", "Tokens a second; more is better.",
        ComparisonCharts.speed(base: base, models: models, label: "decode speed") { $0.decode }
      ),
    ]
    return drawings.compactMap { title, caption, drawing in
      drawing.map {
        Markup(
          "section", [:],
          [
            Markup("h2", text: title), Markup("p", ["class": "caption"], text: caption),
            Markup("div", ["class": "scroll"], [$0]),
          ])
      }
    }
  }

  private var table: Markup {
    let text = ModelMeasurement.table([base] + models)
    func row(_ cells: [String], _ cell: String, class name: String) -> Markup {
      Markup(
        "tr", ["class": name],
        cells.indices.map {
          Markup(cell, text.alignments[$0] == .leading ? ["class": "name"] : [:], content(cells[$0]))
        })
    }
    let head = Markup("thead", [:], [row(text.header, "th", class: "head")])
    let body = Markup(
      "tbody", [:], text.rows.enumerated().map { row($1, "td", class: $0 == 0 ? "base" : "model") })
    return Markup(
      "section", [:],
      [
        Markup("h2", text: "All figures"),
        Markup("div", ["class": "scroll"], [Markup("table", [:], [head, body])]),
        Markup("p", ["class": "caption"], text: ComparisonReport.legend),
      ])
  }

  /// The text of a cell; an error stands below its value.
  private func content(_ cell: String) -> [Markup] {
    guard let sign = cell.firstIndex(of: "±"), sign > cell.startIndex else { return [Markup(cell)] }
    return [
      Markup(String(cell[..<cell.index(before: sign)])), Markup("small", text: " " + String(cell[sign...])),
    ]
  }

  private var account: Markup {
    var parts = [Markup("h2", text: "How this was measured")]
    if !facts.isEmpty { parts.append(definitions(facts, class: "facts")) }
    if !commands.isEmpty { parts.append(Markup("pre", text: commands.joined(separator: "\n"))) }
    if !digests.isEmpty {
      parts.append(Markup("h3", text: "SHA-256"))
      parts.append(definitions(digests, class: "facts digests"))
    }
    return Markup("section", [:], parts)
  }

  private func definitions(_ facts: [Fact], class name: String) -> Markup {
    Markup(
      "dl", ["class": name], facts.flatMap { [Markup("dt", text: $0.name), Markup("dd", text: $0.value)] })
  }

  private static let legend =
    "Perplexity is the exponential of the mean loss; KL is the Kullback-Leibler divergence of the model's next-token "
    + "distribution from the base's, in nats; top-1 is the share of predictions in which both put the same token first. "
    + "The figure after ± is one standard error. Bits per weight counts the linear layers."
}
