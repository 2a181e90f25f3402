/// One row a model: its name at the left, a bar or a dot with an error bar at its value, the value as text.
struct RowPlot {
  private static let rowHeight = 30.0
  private let scale: ChartScale
  private let names: [String]
  private let left: Double
  private let right = ComparisonCharts.width - 108
  private let bottom: Double
  private var frame: ChartFrame

  /// Names and axis.
  init(names: [String], scale: ChartScale, axisLabels: Bool, label: String) {
    self.scale = scale
    self.names = names.map(ScatterPlot.shortened)
    left = min(230, 20 + 7.2 * Double(self.names.map(\.count).max() ?? 0))
    bottom = 8 + RowPlot.rowHeight * Double(names.count)
    frame = ChartFrame(
      width: ComparisonCharts.width, height: bottom + (axisLabels ? 28 : 8), label: label)
    if axisLabels {
      for tick in scale.ticks {
        frame.line(x(tick), 4, x(tick), bottom, class: "grid")
        frame.text(scale.label(tick), x(tick), bottom + 18, anchor: "middle", class: "tick")
      }
    } else {
      frame.line(left, 4, left, bottom, class: "axis")
    }
    for (index, name) in self.names.enumerated() {
      frame.text(name, left - 10, middle(index) + 4, anchor: "end")
    }
  }

  /// An upright dashed line.
  mutating func reference(_ value: Double) { frame.line(x(value), 4, x(value), bottom, class: "reference") }

  /// A dot with an error bar.
  mutating func dot(
    _ row: Int, _ value: Double, error: Double, isBase: Bool, title: String, value text: String
  ) {
    let y = middle(row)
    frame.line(x(value - error), y, x(value + error), y, class: isBase ? "error base" : "error")
    frame.dot(x(value), y, radius: 5.5, class: isBase ? "dot base" : "dot", title: title)
    frame.text(text, ComparisonCharts.width - 4, y + 4, anchor: "end", class: "value")
  }

  /// A bar from the left end.
  mutating func bar(_ row: Int, _ value: Double, isBase: Bool, title: String, value text: String) {
    let width = x(value) - left
    frame.bar(
      x: left, y: middle(row) - 9, width: width, height: 18, class: isBase ? "bar base" : "bar", title: title)
    frame.text(text, left + width + 8, middle(row) + 4, class: "value")
  }

  /// The drawing.
  func finish() -> Markup { frame.markup }

  private func middle(_ row: Int) -> Double { 4 + RowPlot.rowHeight * (Double(row) + 0.5) }
  private func x(_ value: Double) -> Double { left + scale.fraction(value) * (right - left) }
}
