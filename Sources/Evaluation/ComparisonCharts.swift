/// The drawings of a comparison report.
enum ComparisonCharts {
  static let width = 720.0

  /// Size across, mean divergence upwards; nil when no model has a finite divergence.
  static func divergence(base: ModelMeasurement, models: [ModelMeasurement]) -> Markup? {
    let points = models.compactMap { model in
      model.divergence.flatMap { $0.mean.isFinite ? (model, $0) : nil }
    }
    guard !points.isEmpty else { return nil }
    let unit = ByteUnit(largest: ([base] + models).map(\.fileByteCount).max() ?? 1)
    let across = ChartScale.fromZero(([base] + points.map(\.0)).map { unit.value($0.fileByteCount) })
    let up = ChartScale.ratioOrZero(points.map(\.1.mean))
    var plot = ScatterPlot(
      across: across, up: up, acrossTitle: "size, \(unit.name)", upTitle: "mean KL, nats")
    plot.reference(unit.value(base.fileByteCount), name: base.name)
    for (model, divergence) in points {
      plot.point(
        unit.value(model.fileByteCount), divergence.mean, error: divergence.error, name: model.name,
        title: "\(model.name): \(NumberFormat.bytes(model.fileByteCount)), KL "
          + NumberFormat.uncertain(divergence.mean, error: divergence.error))
    }
    return plot.finish()
  }

  /// Perplexity of all models with error bars, the base's as a line; nil when none is finite.
  static func perplexity(base: ModelMeasurement, models: [ModelMeasurement]) -> Markup? {
    let all = ([base] + models).filter {
      $0.perplexity.perplexity.isFinite && $0.perplexity.perplexityError.isFinite
    }
    guard all.count > 1 else { return nil }
    let ends = all.flatMap {
      [
        $0.perplexity.perplexity - $0.perplexity.perplexityError,
        $0.perplexity.perplexity + $0.perplexity.perplexityError,
      ]
    }
    let scale = ChartScale.around(ends)
    var rows = RowPlot(
      names: all.map(\.name), scale: scale, axisLabels: true, label: "perplexity of each model")
    if base.perplexity.perplexity.isFinite { rows.reference(base.perplexity.perplexity) }
    for (index, model) in all.enumerated() {
      let result = model.perplexity
      let text = NumberFormat.uncertain(result.perplexity, error: result.perplexityError)
      rows.dot(
        index, result.perplexity, error: result.perplexityError, isBase: model == base,
        title: "\(model.name): \(text)", value: text)
    }
    return rows.finish()
  }

  /// Bars of one kind of speed; nil when it was measured of fewer than two models.
  static func speed(
    base: ModelMeasurement, models: [ModelMeasurement], label: String,
    _ figure: (ModelMeasurement.Speed) -> Double
  ) -> Markup? {
    let all = ([base] + models).compactMap { model in model.speed.map { (model, figure($0)) } }
      .filter { $0.1.isFinite && $0.1 >= 0 }
    guard all.count > 1 else { return nil }
    let scale = ChartScale.fromZero(all.map(\.1))
    var rows = RowPlot(names: all.map(\.0.name), scale: scale, axisLabels: false, label: label)
    for (index, (model, value)) in all.enumerated() {
      rows.bar(
        index, value, isBase: model == base, title: "\(model.name): \(NumberFormat.rate(value)) tokens/s",
        value: NumberFormat.rate(value))
    }
    return rows.finish()
  }
}

/// A unit in which the sizes of a comparison are plotted.
struct ByteUnit {
  let name: String
  private let size: Double

  /// The largest unit of which `largest` holds at least one.
  init(largest: Int) {
    let units = [("GiB", 1_073_741_824.0), ("MiB", 1_048_576), ("KiB", 1024)]
    (name, size) = units.first { Double(largest) >= $0.1 } ?? ("bytes", 1)
  }

  func value(_ byteCount: Int) -> Double { Double(byteCount) / size }
}
