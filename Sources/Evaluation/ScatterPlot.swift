/// Named points on two axes; names are placed where they cover neither points nor each other.
struct ScatterPlot {
  private struct Box {
    var left: Double
    var top: Double
    var right: Double
    var bottom: Double

    func overlaps(_ other: Box) -> Bool {
      left < other.right && other.left < right && top < other.bottom && other.top < bottom
    }
  }

  private static let area = Box(left: 64, top: 34, right: ComparisonCharts.width - 24, bottom: 326)
  private static let height = 376.0

  private let across: ChartScale
  private let up: ChartScale
  private var frame: ChartFrame
  private var occupied: [Box] = []
  private var names: [(name: String, x: Double, y: Double)] = []

  /// Axes and their marks.
  init(across: ChartScale, up: ChartScale, acrossTitle: String, upTitle: String) {
    self.across = across
    self.up = up
    frame = ChartFrame(
      width: ComparisonCharts.width, height: ScatterPlot.height, label: "\(acrossTitle) against \(upTitle)")
    let area = ScatterPlot.area
    for tick in up.ticks {
      let y = self.y(tick)
      frame.line(area.left, y, area.right, y, class: tick == up.ticks.first ? "axis" : "grid")
      frame.text(up.label(tick), area.left - 8, y + 4, anchor: "end", class: "tick")
    }
    for tick in across.ticks {
      let x = self.x(tick)
      frame.line(x, area.bottom, x, area.bottom + 4, class: "axis")
      frame.text(across.label(tick), x, area.bottom + 19, anchor: "middle", class: "tick")
    }
    frame.text(acrossTitle, area.right, area.bottom + 40, anchor: "end", class: "tick")
    frame.text(upTitle + (up.isLogarithmic ? " (log scale)" : ""), 8, 16, class: "tick")
  }

  /// An upright dashed line, with its name at the top.
  mutating func reference(_ value: Double, name: String) {
    let x = x(value)
    let area = ScatterPlot.area
    frame.line(x, area.top, x, area.bottom, class: "reference")
    let isRight = x > (area.left + area.right) / 2
    frame.text(
      ScatterPlot.shortened(name), x + (isRight ? -6 : 6), area.top + 12, anchor: isRight ? "end" : "start",
      class: "tick")
    occupied.append(Box(left: x - 1, top: area.top, right: x + 1, bottom: area.bottom))
  }

  /// A point with an error bar.
  mutating func point(_ horizontal: Double, _ vertical: Double, error: Double, name: String, title: String) {
    let x = x(horizontal)
    let y = y(vertical)
    if error > 0, error.isFinite {
      frame.line(x, self.y(vertical - error), x, self.y(vertical + error), class: "error")
    }
    frame.dot(x, y, radius: 5.5, class: "dot", title: title)
    occupied.append(Box(left: x - 7, top: y - 7, right: x + 7, bottom: y + 7))
    names.append((ScatterPlot.shortened(name), x, y))
  }

  /// Writes the names and gives the drawing.
  mutating func finish() -> Markup {
    for (name, x, y) in names {
      let width = 7.2 * Double(name.count)
      let places = [
        (x + 11, y + 4, "start"), (x, y - 13, "middle"), (x - 11, y + 4, "end"), (x, y + 21, "middle"),
        (x + 11, y - 11, "start"), (x + 11, y + 19, "start"),
      ]
      let place = places.first { fits(box(x: $0.0, y: $0.1, anchor: $0.2, width: width)) } ?? places[0]
      occupied.append(box(x: place.0, y: place.1, anchor: place.2, width: width))
      frame.text(name, place.0, place.1, anchor: place.2)
    }
    return frame.markup
  }

  private func fits(_ box: Box) -> Bool {
    let isInside =
      box.left >= ScatterPlot.area.left && box.right <= ComparisonCharts.width - 2 && box.top >= 4
      && box.bottom <= ScatterPlot.area.bottom + 2
    return isInside && !occupied.contains { $0.overlaps(box) }
  }

  private func box(x: Double, y: Double, anchor: String, width: Double) -> Box {
    let left = anchor == "start" ? x : anchor == "end" ? x - width : x - width / 2
    return Box(left: left, top: y - 12, right: left + width, bottom: y + 4)
  }

  private func x(_ value: Double) -> Double {
    ScatterPlot.area.left + across.fraction(value) * (ScatterPlot.area.right - ScatterPlot.area.left)
  }

  private func y(_ value: Double) -> Double {
    ScatterPlot.area.bottom - up.fraction(value) * (ScatterPlot.area.bottom - ScatterPlot.area.top)
  }

  /// A name that leaves room for the drawing.
  static func shortened(_ name: String) -> String {
    name.count > 28 ? name.prefix(14) + "…" + name.suffix(13) : name
  }
}
