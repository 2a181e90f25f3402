/// A drawing of fixed proportions in which points are given in pixels.
struct ChartFrame {
  let width: Double
  let height: Double
  private var parts: [Markup] = []
  private let label: String

  /// An empty drawing; `label` says to people who cannot see it what it shows.
  init(width: Double, height: Double, label: String) {
    self.width = width
    self.height = height
    self.label = label
  }

  /// The drawing as SVG.
  var markup: Markup {
    Markup(
      "svg",
      [
        "viewBox": "0 0 \(ChartFrame.pixel(width)) \(ChartFrame.pixel(height))", "role": "img",
        "aria-label": label,
      ], parts)
  }

  /// Draws a line.
  mutating func line(_ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, class name: String) {
    parts.append(
      Markup(
        "line",
        [
          "x1": ChartFrame.pixel(x1), "y1": ChartFrame.pixel(y1), "x2": ChartFrame.pixel(x2),
          "y2": ChartFrame.pixel(y2), "class": name,
        ]))
  }

  /// Draws a dot; `title` appears when the pointer rests on it.
  mutating func dot(_ x: Double, _ y: Double, radius: Double, class name: String, title: String) {
    parts.append(
      Markup(
        "circle",
        [
          "cx": ChartFrame.pixel(x), "cy": ChartFrame.pixel(y), "r": ChartFrame.pixel(radius), "class": name,
        ], [Markup("title", text: title)]))
  }

  /// Draws a bar that begins at `x`, round at its far end.
  mutating func bar(
    x: Double, y: Double, width: Double, height: Double, class name: String, title: String
  ) {
    let radius = min(4, width / 2, height / 2)
    let right = x + max(width, 0.5)
    let points = [x, y, right - radius, right, y, right, y + radius, y + height - radius]
    let p = points.map(ChartFrame.pixel)
    let bottom = ChartFrame.pixel(y + height)
    let path =
      "M\(p[0]) \(p[1])H\(p[2])Q\(p[3]) \(p[4]) \(p[5]) \(p[6])V\(p[7])Q\(p[3]) \(bottom) \(p[2]) \(bottom)H\(p[0])Z"
    parts.append(Markup("path", ["d": path, "class": name], [Markup("title", text: title)]))
  }

  /// Writes text; `anchor` is `start`, `middle` or `end`.
  mutating func text(
    _ content: String, _ x: Double, _ y: Double, anchor: String = "start", class name: String = "label"
  ) {
    parts.append(
      Markup(
        "text",
        ["x": ChartFrame.pixel(x), "y": ChartFrame.pixel(y), "text-anchor": anchor, "class": name],
        text: content))
  }

  /// A coordinate with as many digits as can be seen.
  private static func pixel(_ value: Double) -> String { NumberFormat.fixed(value, 1) }
}
