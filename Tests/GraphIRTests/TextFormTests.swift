import GraphIR
import OrderedCollections
import TestSupport
import Testing

@Suite struct TextFormTests {
  @Test func canonicalTextSurvivesTheRoundTrip() throws {
    let graph = try Graph(parsing: SampleGraphs.decoder)
    #expect(graph.printed() == SampleGraphs.decoder)
    #expect(try Graph(parsing: graph.printed()) == graph)
  }

  @Test func commentsSpacingOrderAndDefaultsDoNotMatter() throws {
    let text = """
      graph @g(x:f32[T,4]){// comment
      %y=gelu %x{approximate="none"}:f32[T,4] %z = scale %y { factor = 2 } : f32[T, 4]
      return %z } // end
      """
    let graph = try Graph(parsing: text)
    #expect(graph.nodes[0].attributes.isEmpty)
    #expect(graph.nodes[1].attributes == ["factor": .float(2)])
    #expect(try graph.nodes[0].string("approximate") == "none")
    #expect(graph.printed().contains("scale %y {factor = 2.0}"))
  }

  @Test func hostileNamesAreEscapedAndReadBack() throws {
    var builder = GraphBuilder(name: "a\u{1B}[31m\"\\\u{202E}é\n")
    let x = try builder.input("x y", .activations(3))
    let weight = try builder.constant("../w\0 \u{1F600}", ConstantType("we ird\t", [2, 3]))
    let y = try builder.add(.linear, [.value(x), weight], name: "")
    let graph = try builder.finish(outputs: [y])
    let text = graph.printed()
    #expect(text.utf8.allSatisfy { (0x20..<0x7F).contains($0) || $0 == 10 })
    #expect(try Graph(parsing: text) == graph)
  }

  @Test func everyNumberReadsBackAsItself() throws {
    var generator = SeededGenerator(seed: 5)
    for _ in 0..<500 {
      let factor = Double(bitPattern: generator.next())
      guard factor.isFinite else { continue }
      var builder = GraphBuilder(name: "g")
      let x = try builder.input("x", .activations(3))
      let y = try builder.add(.scale, [.value(x)], attributes: ["factor": .float(factor)], name: "y")
      let graph = try builder.finish(outputs: [y])
      let read = try Graph(parsing: graph.printed())
      #expect(try read.nodes[0].float("factor") == factor, "factor \(factor)")
    }
  }

  @Test func infinitiesAreRefused() throws {
    var builder = GraphBuilder(name: "g")
    let x = try builder.input("x", .activations(3))
    #expect(throws: GraphError.self) {
      try builder.add(.scale, [.value(x)], attributes: ["factor": .float(.infinity)], name: "y")
    }
    #expect(throws: GraphError.self) {
      try Graph(parsing: "graph @g (x: f32[T, 3]) { %y = scale %x {factor = 1e999} : f32[T, 3] return %y }")
    }
  }

  @Test(arguments: [
    ("", 1, 1), ("graph @g () { return }", 1, 22), ("graph @g (x: f64[T]) { return %x }", 1, 14),
    ("graph @g (x: i32[T], x: i32[T]) { return %x }", 1, 22),
    ("graph @g (x: i32[T]) {\n  %y = gelu %z : f32[T, 3]\n  return %y\n}", 2, 13),
    ("graph @g (x: f32[T, 3]) {\n  %y = gelu %x : f32[T, 4]\n  return %y\n}", 2, 18),
    ("graph @g (x: f32[T, 3]) {\n  %y = frobnicate %x : f32[T, 3]\n  return %y\n}", 2, 3),
    ("graph @g (x: f32[T, 3]) {\n  %x = gelu %x : f32[T, 3]\n  return %x\n}", 2, 3),
    ("graph @g (x: f32[T, 3]) {\n  %y = linear %x, @w : f32[T, 3]\n  return %y\n}", 2, 3),
    ("graph @g (x: f32[T, 3]) { %y = scale %x {factor = 0x10} : f32[T, 3] return %y }", 1, 51),
    ("graph @g (x: f32[T, 3]) { return %x } more", 1, 39),
    ("graph @\"g\\q\" (x: f32[T, 3]) { return %x }", 1, 8),
    ("graph @g (x: f32[T, 99999999999999999999]) { return %x }", 1, 21),
    ("graph @g (x: f32[T, 3]) { constants { @w: f32[3] @w: f32[3] } return %x }", 1, 50),
    ("graph @g (x: f32[T, 3]) { 0layers { } return %x }", 1, 27),
  ])
  func errorsNameThePlace(text: String, line: Int, column: Int) throws {
    let error = try #require(throws: GraphError.self) { _ = try Graph(parsing: text) }
    guard case .syntax(let foundLine, let foundColumn, _) = error else {
      Issue.record("\(error) has no place")
      return
    }
    #expect("\(foundLine):\(foundColumn)" == "\(line):\(column)", "\(error)")
  }

  @Test func nestingIsLimited() {
    let depth = 100_000
    let text =
      "graph @g (x: f32[T, 3]) {" + String(repeating: "a {", count: depth)
      + String(repeating: "}", count: depth)
      + " return %x }"
    #expect(throws: GraphError.self) { try Graph(parsing: text) }
  }

  /// Every prefix and every changed byte of a valid text parses or is refused; what parses prints and reads back.
  @Test func damagedTextNeverTraps() throws {
    let bytes = Array(SampleGraphs.decoder.utf8)
    for end in bytes.indices.dropLast() {
      #expect(throws: GraphError.self) { try Graph(parsing: Array(bytes[..<end])) }
    }
    var generator = SeededGenerator(seed: 11)
    for _ in 0..<20_000 {
      var damaged = bytes
      for _ in 0..<Int.random(in: 1...3, using: &generator) {
        let position = Int.random(in: damaged.indices, using: &generator)
        switch Int.random(in: 0..<3, using: &generator) {
        case 0: damaged[position] = UInt8.random(in: 0...255, using: &generator)
        case 1: damaged.remove(at: position)
        default: damaged.insert(bytes.randomElement(using: &generator) ?? 0, at: position)
        }
      }
      guard let graph = try? Graph(parsing: damaged) else { continue }
      #expect(try Graph(parsing: graph.printed()) == graph)
    }
  }
}
