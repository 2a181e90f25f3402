import SafeIO

/// Everything that was measured of one model in a comparison: its size, what it predicts, how fast it runs.
public struct ModelMeasurement: Sendable, Equatable {
  /// Speed and memory of a model.
  public struct Speed: Sendable, Equatable {
    /// Prompt tokens a second.
    public var prefill: Double
    /// Generated tokens a second.
    public var decode: Double
    /// Largest resident memory in bytes; nil when it was not measured.
    public var peakByteCount: Int?
    /// Milliseconds from the start of loading to the first token; nil when it was not measured.
    public var timeToFirstToken: Double?

    /// Creates the figures.
    public init(prefill: Double, decode: Double, peakByteCount: Int? = nil, timeToFirstToken: Double? = nil) {
      self.prefill = prefill
      self.decode = decode
      self.peakByteCount = peakByteCount
      self.timeToFirstToken = timeToFirstToken
    }
  }

  /// What the model is called.
  public var name: String
  /// Bytes on disk.
  public var fileByteCount: Int
  /// Mean bits per weight of the linear layers.
  public var bitsPerWeight: Double
  /// Perplexity.
  public var perplexity: PerplexityResult
  /// Distance from the base; nil for the base itself.
  public var divergence: DivergenceResult?
  /// Speed; nil when it was not measured.
  public var speed: Speed?

  /// Creates a measurement.
  public init(
    name: String, fileByteCount: Int, bitsPerWeight: Double, perplexity: PerplexityResult,
    divergence: DivergenceResult? = nil, speed: Speed? = nil
  ) {
    self.name = name
    self.fileByteCount = fileByteCount
    self.bitsPerWeight = bitsPerWeight
    self.perplexity = perplexity
    self.divergence = divergence
    self.speed = speed
  }

  /// `model`, `file_bytes`, `bits_per_weight`, the keys of perplexity and divergence, `prefill_ts`,
  /// `decode_ts`, `peak_bytes`, `ttft_ms`. What was not measured is left out.
  public var json: JSONValue {
    var object: JSONObject = [
      "model": .string(name), "file_bytes": JSONValue(fileByteCount),
      "bits_per_weight": .number(bitsPerWeight),
    ]
    for (key, value) in perplexity.json { object[key] = value }
    for (key, value) in divergence?.json ?? [:] { object[key] = value }
    if let speed {
      object["prefill_ts"] = .number(speed.prefill)
      object["decode_ts"] = .number(speed.decode)
      if let peak = speed.peakByteCount { object["peak_bytes"] = JSONValue(peak) }
      if let time = speed.timeToFirstToken { object["ttft_ms"] = .number(time) }
    }
    return .object(object)
  }

  /// A table of measurements, one row a model. Columns of which nothing was measured are left out.
  public static func table(_ models: [ModelMeasurement]) -> TextTable {
    let hasDivergence = models.contains { $0.divergence != nil }
    let hasSpeed = models.contains { $0.speed != nil }
    let hasPeak = models.contains { $0.speed?.peakByteCount != nil }
    let hasTime = models.contains { $0.speed?.timeToFirstToken != nil }
    var table = TextTable(["model"], alignments: [.leading])
    table.addColumns(["size", "bits/weight", "perplexity"])
    if hasDivergence { table.addColumns(["KL mean", "KL p99", "top-1"]) }
    if hasSpeed { table.addColumns(["prefill t/s", "decode t/s"]) }
    if hasPeak { table.addColumns(["peak"]) }
    if hasTime { table.addColumns(["first token"]) }
    for model in models {
      var row = [model.name] + model.qualityCells
      if hasDivergence { row += model.divergenceCells }
      if hasSpeed { row += model.speedCells }
      if hasPeak { row.append(model.speed?.peakByteCount.map(NumberFormat.bytes) ?? "–") }
      if hasTime {
        row.append(model.speed?.timeToFirstToken.map { NumberFormat.significant($0, 3) + " ms" } ?? "–")
      }
      table.addRow(row)
    }
    return table
  }

  private var qualityCells: [String] {
    [
      NumberFormat.bytes(fileByteCount), NumberFormat.fixed(bitsPerWeight, 3),
      NumberFormat.uncertain(perplexity.perplexity, error: perplexity.perplexityError),
    ]
  }

  private var divergenceCells: [String] {
    guard let divergence else { return ["–", "–", "–"] }
    return [
      NumberFormat.uncertain(divergence.mean, error: divergence.error, digits: 1),
      NumberFormat.significant(divergence.p99, 3),
      NumberFormat.fixed(100 * divergence.top1Agreement, 2) + " %",
    ]
  }

  private var speedCells: [String] {
    guard let speed else { return ["–", "–"] }
    return [NumberFormat.rate(speed.prefill), NumberFormat.rate(speed.decode)]
  }
}
