import GraphDrawing
import GraphIR
import Testing

/// Pictures of blocks: everything is there, nothing lies on anything else, and edges end where they should.
@Suite struct GraphDrawingTests {
  /// Three blocks, of two branches each beside one another or after one another.
  static func graph(parallel: Bool, blocks: Int = 3) throws -> Graph {
    var text = "graph @sample (tokens: i32[T], positions: i32[T]) {\n  constants {\n    @embed: f32[30, 8]\n"
    text +=
      "    @f: f32[2]\n    @g: f32[8]\n    @w: bf16[8, 8]\n    @u: bf16[12, 8]\n    @d: int4-g4[8, 12]\n  }\n"
    text += "  %h0 = embedding %tokens, @embed : f32[T, 8]\n"
    for layer in 0..<blocks { text += parallel ? parallelBlock(layer) : sequentialBlock(layer) }
    text += "  %n = rms_norm %h\(blocks), @g {eps = 0.1} : f32[T, 8]\n"
    text += "  %logits = linear %n, @embed : f32[T, 30]\n  return %logits\n}\n"
    return try Graph(parsing: text)
  }

  private static func attention(_ n: Int) -> String {
    """
        attention {
          %n\(n) = rms_norm %h\(n), @g {eps = 0.1} : f32[T, 8]
          %q\(n) = linear %n\(n), @w : f32[T, 8]
          %k\(n) = linear %n\(n), @w : f32[T, 8]
          %v\(n) = linear %n\(n), @w : f32[T, 8]
          %qr\(n) = rope %q\(n), %positions, @f {heads = 2, head_dim = 4} : f32[T, 8]
          %kr\(n) = rope %k\(n), %positions, @f {heads = 2, head_dim = 4} : f32[T, 8]
          %a\(n) = attention %qr\(n), %kr\(n), %v\(n) {heads = 2, kv_heads = 2, head_dim = 4, scale = 0.5, cache = \(n)} : f32[T, 8]
          %o\(n) = linear %a\(n), @w : f32[T, 8]
        }

    """
  }

  private static func feedForward(_ n: Int, _ source: String) -> String {
    """
        feed_forward {
          %m\(n) = rms_norm %\(source), @g {eps = 0.1} : f32[T, 8]
          %e\(n) = linear %m\(n), @u : f32[T, 12]
          %u\(n) = linear %m\(n), @u : f32[T, 12]
          %s\(n) = silu %e\(n) : f32[T, 12]
          %p\(n) = multiply %s\(n), %u\(n) : f32[T, 12]
          %d\(n) = linear %p\(n), @d : f32[T, 8]
        }

    """
  }

  private static func sequentialBlock(_ n: Int) -> String {
    "  layers.\(n) {\n" + attention(n) + "    %r\(n) = add %h\(n), %o\(n) : f32[T, 8]\n"
      + feedForward(n, "r\(n)")
      + "    %h\(n + 1) = add %r\(n), %d\(n) : f32[T, 8]\n  }\n"
  }

  private static func parallelBlock(_ n: Int) -> String {
    "  layers.\(n) {\n" + attention(n) + feedForward(n, "h\(n)")
      + "    %r\(n) = add %o\(n), %d\(n) : f32[T, 8]\n"
      + "    %h\(n + 1) = add %h\(n), %r\(n) : f32[T, 8]\n  }\n"
  }

  @Test(arguments: [false, true], 0..<3) func everyNodeOfTheBlockHasABox(parallel: Bool, block: Int) throws {
    let graph = try Self.graph(parallel: parallel)
    let drawing = try GraphDrawing(graph, block: block)
    let drawn = drawing.boxes.flatMap(\.values)
    let inside = graph.nodes[graph.blocks[block].nodes].flatMap(\.results)
    let around = graph.nodes.filter { $0.scope.isEmpty }.flatMap(\.results)
    let expected = (inside + around + graph.outputs).map { graph.name(of: $0) } + ["tokens"]
    #expect(drawn.sorted() == expected.sorted())
    let elided = drawing.boxes.filter(\.values.isEmpty)
    #expect(elided.count == (block == 1 ? 2 : 1), "the other blocks")
    for value in expected { #expect(drawing.svg.contains("data-values=\"\(value)\""), "\(value)") }
  }

  @Test(arguments: [false, true], 0..<3) func nothingLiesOnAnythingElse(parallel: Bool, block: Int) throws {
    let drawing = try GraphDrawing(Self.graph(parallel: parallel), block: block)
    for (index, a) in drawing.boxes.enumerated() {
      #expect(a.x >= 0 && a.y >= 0 && a.x + a.width <= drawing.width && a.y + a.height <= drawing.height)
      for b in drawing.boxes[(index + 1)...] {
        let areApart =
          a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height <= b.y || b.y + b.height <= a.y
        #expect(areApart, "\(a.values) and \(b.values)")
      }
    }
  }

  /// Edges begin and end on the border of their boxes and pass through no other.
  @Test(arguments: [false, true], 0..<3) func edgesEndAtTheirBoxes(parallel: Bool, block: Int) throws {
    let drawing = try GraphDrawing(Self.graph(parallel: parallel), block: block)
    for edge in drawing.edges {
      let (source, target) = (drawing.boxes[edge.source], drawing.boxes[edge.target])
      let (first, last) = (try #require(edge.points.first), try #require(edge.points.last))
      #expect(source.values.isEmpty || source.values.contains(edge.value))
      if edge.isResidual {
        #expect(first.x == source.x && (source.y...source.y + source.height).contains(first.y))
        #expect(last.x == target.x && (target.y...target.y + target.height).contains(last.y))
      } else {
        #expect(first.y == source.y + source.height && last.y == target.y, "\(edge.value)")
        #expect((source.x...source.x + source.width).contains(first.x))
        #expect((target.x...target.x + target.width).contains(last.x))
      }
      for (from, to) in zip(edge.points, edge.points.dropFirst()) where from.x == to.x || from.y == to.y {
        for (number, box) in drawing.boxes.enumerated() where number != edge.source && number != edge.target {
          let crossesX = max(from.x, to.x) > box.x && min(from.x, to.x) < box.x + box.width
          let crossesY = max(from.y, to.y) > box.y && min(from.y, to.y) < box.y + box.height
          #expect(!(crossesX && crossesY), "\(edge.value) runs through \(box.values)")
        }
      }
    }
    let streams = drawing.edges.filter(\.isResidual).map(\.value)
    #expect(streams == (parallel ? ["h\(block)"] : ["h\(block)", "r\(block)"]))
  }

  /// Where one node makes a sum and its norm, the stream is the sum, which passes by what reads the norm.
  @Test func theStreamIsFoundBehindSumsThatHaveTheirNorm() throws {
    let graph = try Graph(
      parsing: """
        graph @g (x: f32[T, 8], y: f32[T, 8]) {
          constants { @g: f32[8] @w: f32[8, 8] }
          layers.0 {
            %r, %n = add_rms_norm %x, %y, @g {eps = 0.1} : f32[T, 8], f32[T, 8]
            %f = linear %n, @w : f32[T, 8]
            %h, %m = add_rms_norm %r, %f, @g {eps = 0.1} : f32[T, 8], f32[T, 8]
            %e = linear %m, @w : f32[T, 8]
          }
          %s = add %e, %h : f32[T, 8]
          return %s
        }
        """)
    let edges = try GraphDrawing(graph).edges
    #expect(edges.filter(\.isResidual).map(\.value) == ["r", "h"])
    #expect(edges.filter { ["n", "f", "m", "e"].contains($0.value) }.allSatisfy { !$0.isResidual })
  }

  @Test func theSamePictureEveryTime() throws {
    for parallel in [false, true] {
      let graph = try Self.graph(parallel: parallel)
      let first = try GraphDrawing(graph, block: 1).svg
      #expect(try (0..<3).allSatisfy { _ in try GraphDrawing(graph, block: 1).svg == first })
      #expect(try GraphDrawing(graph, block: 2).svg != first)
      for sign in ["<svg ", "</svg>", "prefers-color-scheme: dark", "residual stream", "int4-g4"] {
        #expect(first.contains(sign), "\(sign)")
      }
      #expect(!first.contains("@import") && !first.contains("url(http"), "no fonts from elsewhere")
      let opened = first.matches(of: /<g[ >]/).count, closed = first.matches(of: /<\/g>/).count
      #expect(opened == closed)
    }
  }

  @Test func blocksThatAreNotThereAreRefused() throws {
    let graph = try Self.graph(parallel: false)
    #expect(throws: GraphError.self) { try GraphDrawing(graph, block: 3) }
    #expect(throws: GraphError.self) { try GraphDrawing(graph, block: -1) }
    let plain = try Graph(parsing: "graph @g (x: f32[T, 3]) {\n  %y = gelu %x : f32[T, 3]\n  return %y\n}\n")
    #expect(try GraphDrawing(plain).boxes.flatMap(\.values) == ["x", "y", "y"])
    #expect(throws: GraphError.self) { try GraphDrawing(plain, block: 0) }
  }

  @Test func picturesStandBesideEachOther() throws {
    let first = try GraphDrawing(Self.graph(parallel: false), block: 0, title: "one <")
    let second = try GraphDrawing(Self.graph(parallel: true), block: 0, title: "two")
    let svg = GraphDrawing.sideBySide([first, second])
    #expect(svg.hasPrefix("<svg ") && svg.hasSuffix("</svg>\n"))
    #expect(
      svg.contains(#"width="\#(first.width + second.width)" height="\#(max(first.height, second.height))""#))
    #expect(svg.contains(#"translate(\#(first.width) 0)"#) && svg.contains("one &lt;"))
    for opening in ["<g", "<svg", "<style"] {
      let closing = "</" + opening.dropFirst() + ">"
      let count =
        svg.split(separator: opening + " ", omittingEmptySubsequences: false).count
        + svg.split(separator: opening + ">", omittingEmptySubsequences: false).count - 2
      #expect(
        count == svg.split(separator: closing, omittingEmptySubsequences: false).count - 1, "\(opening)")
    }
  }
}
