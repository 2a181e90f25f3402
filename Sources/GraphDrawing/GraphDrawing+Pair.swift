extension GraphDrawing {
  /// Pictures beside each other in one SVG document, such as a block before and after passes; each keeps its own heading.
  public static func sideBySide(_ drawings: [GraphDrawing]) -> String {
    let width = drawings.reduce(0) { $0 + $1.width }
    let height = drawings.map(\.height).max() ?? 0
    var lines = [
      #"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \#(width) \#(height)" width="\#(width)" height="\#(height)" role="img">"#,
      "<title>\(drawings.map { escaped($0.title) }.joined(separator: "; "))</title>", style,
      #"<rect class="page" width="\#(width)" height="\#(height)"/>"#,
    ]
    var x = 0
    for drawing in drawings {
      lines.append(#"<g transform="translate(\#(x) 0)">"#)
      lines += drawing.content
      lines.append("</g>")
      x += drawing.width
    }
    return lines.joined(separator: "\n") + "\n</svg>\n"
  }
}
