import SafeIO
import TestSupport
import Testing

@Suite struct OptimizeTests {
  let directory = TemporaryDirectory()

  private func text(_ path: String) throws -> String {
    String(decoding: try FileReading.readAll(path, limit: 1 << 22), as: UTF8.self)
  }

  @Test func passesExplainAndProveThemselves() throws {
    let run = CommandRun("optimize", Fixture.acorn, "--explain", "--prove", "-t", "1")
    #expect(run.status == 0, "\(run.errors)")
    #expect(run.output.contains("at      p* for 0-7") && run.output.contains("results have the same bits"))
    #expect(run.output.contains("floating-point weights take float32 inputs"))
    #expect(
      run.output.contains("  costs   8 more nodes\n"),
      "a projection and three parts instead of three projections")
    #expect(!run.output.contains("saved   -"))
    let json = try CommandRun("optimize", Fixture.acorn, "--json").json()
    let passes = try #require(json["passes"]?.arrayValue)
    #expect(passes.contains { $0["pass"]?.stringValue == "fuse-swiglu" && $0["fired"]?.intValue == 8 })
    #expect(json["after"]?["nodes"]?.intValue ?? 999 < json["before"]?["nodes"]?.intValue ?? 0)
    let list = CommandRun("optimize", "--list")
    #expect(list.status == 0 && list.output.contains("fuse-parallel-projections"))
  }

  @Test func graphsGoInAndOutAsText() throws {
    let first = directory.file("first.ir")
    let run = CommandRun(
      "optimize", Fixture.acorn, "--passes", "remove-dead-code,fuse-swiglu,fuse-add-rms-norm", "--stop-after",
      "fuse-swiglu", "-o", first)
    #expect(run.status == 0, "\(run.errors)")
    #expect(try text(first).contains("swiglu") && !text(first).contains("add_rms_norm"))
    let again = CommandRun("optimize", first, "--prove", "--print-ir-after", "changed")
    #expect(again.status == 0, "\(again.errors)")
    #expect(again.output.contains("// after fuse-add-rms-norm: 16 rewrites\ngraph @llama"))
    #expect(!again.output.contains("// after fuse-swiglu"))
    #expect(CommandRun("optimize", first, "-o", first).status == 64, "the output is the input")
    #expect(CommandRun("optimize", first, "-o", directory.file("model.adze")).status == 64)
  }

  @Test func theBlockIsDrawnBeforeAndAfter() throws {
    let path = directory.file("pair.svg")
    #expect(CommandRun("optimize", Fixture.acorn, "--draw", path, "--block", "2").status == 0)
    let picture = try text(path)
    #expect(picture.contains(", before") && picture.contains(", after") && picture.contains("Linear, gated"))
    #expect(CommandRun("optimize", Fixture.acorn, "--draw", path, "--block", "99").status == 64)
  }

  @Test func wrongRequestsAreRefused() throws {
    #expect(CommandRun("optimize").status == 64)
    #expect(CommandRun("optimize", Fixture.acorn, "--passes", "no-such-pass").status == 64)
    #expect(CommandRun("optimize", Fixture.acorn, "--stop-after", "no-such-pass").status == 64)
    #expect(CommandRun("optimize", Fixture.acorn, "--print-ir-after", "no-such-pass").status == 64)
    #expect(CommandRun("optimize", directory.file("nothing")).status == 66)
    let broken = directory.file("broken.ir")
    try AtomicFile.write(
      Array("graph @g (x: f32[T, 4]) { %y = silu %z : f32[T, 4] return %y }".utf8), to: broken)
    #expect(CommandRun("optimize", broken).status == 65)
  }
}
