extension GraphDrawing {
  /// The picture as SVG: a document of its own, with colours for light and dark backgrounds and no fonts but those of the viewer.
  public var svg: String {
    let lines =
      [
        #"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \#(width) \#(height)" width="\#(width)" height="\#(height)" role="img">"#,
        "<title>\(Self.escaped(title)), \(Self.escaped(subtitle))</title>", Self.style,
        #"<rect class="page" width="\#(width)" height="\#(height)"/>"#,
      ] + content
    return lines.joined(separator: "\n") + "\n</svg>\n"
  }

  /// Everything but the page.
  var content: [String] {
    var lines = [
      #"<text class="heading" x="\#(Self.margin)" y="40">\#(Self.escaped(title))</text>"#,
      #"<text class="detail" x="\#(Self.margin)" y="60">\#(Self.escaped(subtitle))</text>"#,
      #"<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse"><path class="tip" d="M0 0.5 L8 4 L0 7.5 z"/></marker>"#
        + #"<marker id="stream-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="5" markerHeight="5" orient="auto-start-reverse"><path class="stream-tip" d="M0 0.5 L8 4 L0 7.5 z"/></marker></defs>"#,
    ]
    lines += frames.map(Self.svg)
    lines += edges.map(svg)
    lines += boxes.map(Self.svg)
    return lines + Legend.svg(of: self)
  }

  static let style = """
    <style>
    svg { --page: #ffffff; --ink: #1c2430; --soft: #5a6675; --line: #8793a3; --stream: #c2410c; --frame: #f3f5f8; --edge: #d5dbe3;
      --projection: #2563a8; --normalization: #7a5aa6; --attention: #0f7f78; --activation: #66707e; --sum: #c2410c;
      --experts: #a3690b; --data: #33404f; --elided: #8793a3; --box: #ffffff; }
    @media (prefers-color-scheme: dark) {
      svg { --page: #12161c; --ink: #e8edf3; --soft: #a2aebc; --line: #738093; --stream: #f08a4b; --frame: #1a2029; --edge: #323c49;
        --projection: #6ba6e8; --normalization: #b59add; --attention: #4cc2b6; --activation: #98a3b2; --sum: #f08a4b;
        --experts: #dba440; --data: #c3ccd7; --elided: #738093; --box: #222a35; }
    }
    .page { fill: var(--page) } .frame { fill: var(--frame); stroke: var(--edge) }
    text { font-family: system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: var(--ink) }
    .heading { font-size: 20px; font-weight: 600 } .title { font-size: 13px; font-weight: 600 }
    .detail { font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 11px; fill: var(--soft) }
    .shape { fill: var(--ink) } .scope { font-size: 12px; fill: var(--soft) }
    .box { fill: var(--box); stroke-width: 1.2 } .elided .box { stroke-dasharray: 5 3 }
    .edge { fill: none; stroke: var(--line); stroke-width: 1.4 } .tip { fill: var(--line) }
    .stream { fill: none; stroke: var(--stream); stroke-width: 2.2 } .stream-tip { fill: var(--stream) }
    \(BoxText.Category.allCases.map { ".\($0.rawValue) .box { stroke: var(--\($0.rawValue)) } .\($0.rawValue) .bar { fill: var(--\($0.rawValue)) }" }.joined(separator: "\n"))
    </style>
    """

  private static func svg(_ frame: Frame) -> String {
    #"<rect class="frame" x="\#(frame.x)" y="\#(frame.y)" width="\#(frame.width)" height="\#(frame.height)" rx="10"/>"#
      + #"<text class="scope" x="\#(frame.x + frame.width - 10)" y="\#(frame.y + frame.height - 6)" text-anchor="end">\#(escaped(frame.label.replacing("_", with: " ")))</text>"#
  }

  private static func svg(_ box: Box) -> String {
    let (x, y) = (box.x + BoxMetrics.padding + 4, box.y + BoxMetrics.titleHeight - 4)
    var parts = [
      #"<g class="\#(box.text.category.rawValue)" data-values="\#(escaped(box.values.joined(separator: " ")))">"#,
      #"<rect class="box" x="\#(box.x)" y="\#(box.y)" width="\#(box.width)" height="\#(box.height)" rx="5"/>"#,
      #"<rect class="bar" x="\#(box.x)" y="\#(box.y)" width="5" height="\#(box.height)" rx="2"/>"#,
      #"<text class="title" x="\#(x)" y="\#(y)">\#(escaped(box.text.title))</text>"#,
    ]
    var line = y
    for detail in box.text.details {
      line += BoxMetrics.lineHeight
      parts.append(#"<text class="detail" x="\#(x)" y="\#(line)">\#(escaped(detail))</text>"#)
    }
    if !box.text.shape.isEmpty {
      line += BoxMetrics.lineHeight
      parts.append(#"<text class="detail shape" x="\#(x)" y="\#(line)">\#(escaped(box.text.shape))</text>"#)
    }
    return parts.joined() + "</g>"
  }

  private func svg(_ edge: Edge) -> String {
    let kind = edge.isResidual ? "stream" : "edge"
    let path = edge.isResidual ? Self.cornered(edge.points) : Self.curved(edge.points)
    let tip = edge.isResidual ? "stream-tip" : "tip"
    return
      #"<path class="\#(kind)" data-source="\#(edge.source)" data-target="\#(edge.target)" data-value="\#(Self.escaped(edge.value))" d="\#(path)" marker-end="url(#\#(tip))"/>"#
  }

  /// Straight lines with round corners.
  private static func cornered(_ points: [Point]) -> String {
    guard let first = points.first, let last = points.last else { return "" }
    var path = "M\(first.x) \(first.y)"
    for index in points.indices.dropFirst().dropLast() {
      let (before, at, after) = (points[index - 1], points[index], points[index + 1])
      func toward(_ other: Point) -> Point {
        let (dx, dy) = (other.x - at.x, other.y - at.y)
        let reach = min(10, max(abs(dx), abs(dy)) / 2)
        return Point(x: at.x + dx.signum() * min(reach, abs(dx)), y: at.y + dy.signum() * min(reach, abs(dy)))
      }
      let (enter, leave) = (toward(before), toward(after))
      path += " L\(enter.x) \(enter.y) Q\(at.x) \(at.y) \(leave.x) \(leave.y)"
    }
    return path + " L\(last.x) \(last.y)"
  }

  /// Vertical within rows, an even bend between them.
  private static func curved(_ points: [Point]) -> String {
    guard let first = points.first else { return "" }
    var path = "M\(first.x) \(first.y)"
    for (from, to) in zip(points, points.dropFirst()) {
      if from.x == to.x {
        path += " L\(to.x) \(to.y)"
      } else {
        let middle = (from.y + to.y) / 2
        path += " C\(from.x) \(middle) \(to.x) \(middle) \(to.x) \(to.y)"
      }
    }
    return path
  }

  static func escaped(_ text: String) -> String {
    text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
      .replacing("\"", with: "&quot;")
  }
}

/// What colours and lines mean.
enum Legend {
  static let height = 48
  private static let gap = 22

  private static func categories(_ drawing: GraphDrawing) -> [BoxText.Category] {
    BoxText.Category.allCases.filter { category in drawing.boxes.contains { $0.text.category == category } }
  }

  private static func length(_ label: String) -> Int { 20 + label.count * 7 + gap }

  private static let stream = "residual stream"

  /// Pixels that the legend needs.
  static func width(of drawing: GraphDrawing) -> Int {
    let hasStream = drawing.edges.contains(where: \.isResidual)
    return categories(drawing).reduce(0) { $0 + length($1.label) } + (hasStream ? length(stream) + 14 : 0)
  }

  static func svg(of drawing: GraphDrawing) -> [String] {
    let y = drawing.height - height + 16
    var x = GraphDrawing.margin
    var lines: [String] = []
    for category in categories(drawing) {
      lines.append(
        #"<g class="\#(category.rawValue)"><rect class="bar" x="\#(x)" y="\#(y - 10)" width="12" height="12" rx="2"/><text class="scope" x="\#(x + 18)" y="\#(y)">\#(category.label)</text></g>"#
      )
      x += length(category.label)
    }
    if drawing.edges.contains(where: \.isResidual) {
      lines.append(
        #"<path class="stream" d="M\#(x) \#(y - 4) L\#(x + 24) \#(y - 4)" marker-end="url(#stream-tip)"/><text class="scope" x="\#(x + 32)" y="\#(y)">\#(stream)</text>"#
      )
    }
    return lines
  }
}
