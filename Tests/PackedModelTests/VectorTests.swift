import Glibc
import LogitBase
import PackedModel
import SafeIO
import TensorCore
import TestSupport
import Testing

@Suite("Vectors") struct VectorTests {
  private static func path(_ relative: String) -> String { SharedData.projectRoot + "/Formats/" + relative }

  private static var hostile: [String] {
    let folder = path("PackedModel/Vectors/hostile")
    return ((try? FileReading.list(folder)) ?? []).map { folder + "/" + $0 }
  }

  @Test("a packed file of an independent writer reads") func packed() throws {
    let file = try PackedFile(path: Self.path("PackedModel/Vectors/independent.adze"))
    #expect(file.metadata == ["tool": "independent"])
    #expect(try file.bytes(of: "graph", checked: true).array == Array("graph @g {}\n".utf8))
    #expect(try file.bytes(of: "weights", checked: true).array == Array(0..<200))
    #expect(try file.bytes(of: "empty").byteCount == 0)
    #expect(file.verify().isEmpty)
  }

  @Test("hostile packed files are refused", arguments: hostile)
  func hostilePacked(path: String) {
    do throws(PackedModelError) {
      _ = try PackedFile(path: path)
      Issue.record("accepted")
    } catch { #expect(error.diagnostic.status == .badInput) }
  }

  @Test("a base file of llama-perplexity gives the perplexity that it printed") func logitBase() throws {
    let file = try LogitBaseFile(path: Self.path("LogitBase/Vectors/random-llama.kld"))
    #expect(file.layout == (try LogitBaseLayout(contextLength: 16, vocabularyCount: 512, chunkCount: 2)))
    var sum = 0.0
    var perplexities: [Double] = []
    for chunk in 0..<2 {
      let tokens = Array(file.tokens(chunk: chunk))
      for row in 0..<file.layout.rowsPerChunk {
        let values = file.logProbabilities(chunk: chunk, row: row)
        sum -= Double(values[Int(tokens[file.layout.firstScoredPosition + row + 1])])
        #expect(abs(values.reduce(0) { $0 + exp(Double($1)) } - 1) < 1e-3)
      }
      perplexities.append(exp(sum / Double((chunk + 1) * file.layout.rowsPerChunk)))
    }
    #expect(abs(perplexities[0] - 582.9231) < 0.02)
    #expect(abs(perplexities[1] - 594.2770) < 0.02)
  }

  @Test("a base file written from what was read is the same up to rounding") func logitBaseAgain() throws {
    let file = try LogitBaseFile(path: Self.path("LogitBase/Vectors/random-llama.kld"))
    let directory = TemporaryDirectory()
    try LogitBaseWriter.write(to: directory.file("again"), layout: file.layout, tokens: file.tokens) {
      append in
      for chunk in 0..<2 {
        for row in 0..<file.layout.rowsPerChunk { try append(file.logProbabilities(chunk: chunk, row: row)) }
      }
    }
    let again = try LogitBaseFile(path: directory.file("again"))
    #expect(try FileReading.size(directory.file("again")) == 14596)
    for chunk in 0..<2 {
      for row in 0..<file.layout.rowsPerChunk {
        let pairs = zip(
          file.logProbabilities(chunk: chunk, row: row), again.logProbabilities(chunk: chunk, row: row))
        for (first, second) in pairs { #expect(abs(first - second) < 2e-4) }
      }
    }
  }
}
