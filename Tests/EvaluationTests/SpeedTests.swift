import Evaluation
import SafeIO
import Testing

@Suite("Speed")
struct SpeedTests {
  @Test("Mean and deviation by hand")
  func figures() {
    let speed = SpeedMeasurement(promptCount: 100, generatedCount: 0, seconds: [1, 0.5, 0.25])
    #expect(speed.samples == [100, 200, 400])
    #expect(abs(speed.mean - 700 / 3.0) < 1e-9)
    #expect(abs(speed.standardDeviation - 152.7525231652) < 1e-6)
    #expect(
      speed.json.keys == ["n_prompt", "n_gen", "n_depth", "avg_ts", "stddev_ts", "samples_ts", "cache_bytes"])
  }

  @Test("A table as llama-bench prints it")
  func table() {
    let speed = SpeedMeasurement(promptCount: 100, generatedCount: 0, seconds: [1, 0.5, 0.25])
    let table = SpeedMeasurement.table(model: "m", fileByteCount: 1024, threadCount: 2, [speed])
    #expect(
      table.commaSeparated == "model,size,threads,test,t/s\nm,1.00 KiB,2,pp100,233.33 ± 152.75\n")
  }

  @Test("Names of tests")
  func names() {
    #expect(SpeedMeasurement(promptCount: 512, generatedCount: 0, seconds: []).testName == "pp512")
    #expect(
      SpeedMeasurement(promptCount: 0, generatedCount: 128, depth: 9, seconds: []).testName == "tg128 @ d9")
    #expect(SpeedMeasurement(promptCount: 4, generatedCount: 2, seconds: []).testName == "pp4+tg2")
    #expect(SpeedMeasurement(promptCount: 4, generatedCount: 2, seconds: []).mean == 0)
  }

  @Test("Repetitions, with one that does not count")
  func repetitions() throws {
    var runs = 0
    var preparations = 0
    let speed = try SpeedMeasurement.measure(
      promptCount: 1, generatedCount: 0, repetitions: 3, prepare: { preparations += 1 },
      operation: { runs += 1 })
    #expect(runs == 4 && preparations == 4 && speed.seconds.count == 3)
    #expect(speed.seconds.allSatisfy { $0 > 0 })
    #expect(throws: EvaluationError.self) {
      try SpeedMeasurement.measure(promptCount: 1, generatedCount: 0, repetitions: 0) {}
    }
  }
}
