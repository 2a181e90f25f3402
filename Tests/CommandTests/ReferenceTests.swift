import OrderedCollections
import SafeIO
import Safetensors
import TensorCore
import TestSupport
import Testing

/// Logits and texts of models by others.
@Suite(.enabled(if: SharedData.isAvailable, "the reference data is not here")) struct ReferenceTests {
  @Test(arguments: ["llama", "llama31-rope"], ["512", "1"])
  func logitsEqualThoseOfTransformers(model: String, chunk: String) throws {
    let directory = TemporaryDirectory()
    let folder = SharedData.path("goldens/\(model)")
    let run = CommandRun(
      "logits", folder, "--input", folder + "/expected.safetensors", "-o", directory.file("logits"),
      "--chunk", chunk)
    #expect(run.status == 0, "\(run.errors)")
    #expect(run.output.isEmpty)
    let found = try #require(try SafetensorsFile(path: directory.file("logits")).tensors["logits"])
    let expected = try #require(try SafetensorsFile(path: folder + "/expected.safetensors").tensors["logits"])
    #expect(found.shape == expected.shape && found.elementType == .f32)
    let (a, b) = (try found.floats(), try expected.floats())
    let mean = b.reduce(0.0) { $0 + Double($1) } / Double(b.count)
    let deviation = (b.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) } / Double(b.count))
      .squareRoot()
    let worst = zip(a, b).reduce(0.0) { max($0, abs(Double($1.0) - Double($1.1))) }
    #expect(worst <= 1e-4 * deviation, "worst \(worst), deviation \(deviation)")
  }

  @Test func storiesGoOnAsTheirAuthorPrinted() throws {
    let folder = SharedData.path("models/stories260K")
    let reference = try JSONValue.parse(
      FileReading.readAll(folder + "/greedy_reference.json", limit: 1 << 20), file: nil)
    let expected = reference["greedy"]?.arrayValue?.compactMap(\.intValue) ?? []
    let run = CommandRun(
      "run", folder + "/stories260K.bin", "-p", "", "-n", "256", "--temperature", "0", "--json",
      "--ignore-eos", "--kv", "f32")
    #expect(run.status == 0, "\(run.errors)")
    let result = try run.json()
    let prompt = result["prompt_tokens"]?.arrayValue?.compactMap(\.intValue) ?? []
    let tokens = result["tokens"]?.arrayValue?.compactMap(\.intValue) ?? []
    #expect(prompt == [1])
    #expect((prompt + tokens).prefix(expected.count) == expected[...])
    #expect(expected.count >= 256)
  }
}
