import Glibc
import SafeIO
import TestSupport
import Testing

/// From the shipped model to a packed one, measured and run, as a person would.
@Suite(.serialized) struct SessionTests {
  let directory = TemporaryDirectory()

  private func file(_ name: String) -> String { directory.file(name) }

  /// A packed 4-bit model, made by rounding.
  private func packed() -> String {
    let path = file("model.adze")
    let run = CommandRun(
      "quantize", Fixture.acorn, "-o", path, "--method", "rtn", "--codec", "int4", "--group-size", "64")
    #expect(run.status == 0, "\(run.errors)")
    return path
  }

  @Test func blocksAreDrawn() throws {
    let path = file("acorn.svg")
    let drawing = CommandRun("inspect", Fixture.acorn, "--draw", path, "--block", "1")
    #expect(drawing.status == 0, "\(drawing.errors)")
    let picture = String(decoding: try FileReading.readAll(path, limit: 1 << 20), as: UTF8.self)
    #expect(picture.hasPrefix("<svg ") && picture.contains("model.layers.1.self_attn.q_proj.weight"))
    #expect(CommandRun("inspect", Fixture.acorn, "--draw", file("no.svg"), "--block", "999").status == 64)
    #expect(CommandRun("inspect", Fixture.acorn, "--block", "1").status == 64)
    #expect(!FileReading.exists(file("no.svg")))
  }

  @Test func quantizePackVerifyRun() throws {
    let quantize = CommandRun(
      "quantize", Fixture.acorn, "-o", file("int4"), "--method", "gptq", "--codec", "int4", "--group-size",
      "32",
      "--corpus", Fixture.calibrationText, "--samples", "4", "--length", "64", "--ignore",
      #"layers\.[2-7]\."#,
      "--report", file("report.json"))
    #expect(quantize.status == 0, "\(quantize.errors)")
    #expect(quantize.output.contains("14 layers as int4-g32-sym"))
    #expect(quantize.errors.contains("quantize done"))
    let report = try JSONValue.parse(FileReading.readAll(file("report.json"), limit: 1 << 20), file: nil)
    #expect(report["layers"]?.arrayValue?.count == 14)
    #expect(report["layers_fallen_back"]?.intValue == 0)
    #expect(report["calibration"]?["tokens"]?.intValue == 256)

    let inspect = CommandRun("inspect", file("int4"), "--json", "--tensors")
    #expect(inspect.status == 0 && inspect.errors.isEmpty)
    let facts = try inspect.json()
    #expect(facts["family"]?.stringValue == "llama")
    #expect(facts["history"]?["recipe"]?["method"]?.stringValue == "gptq")
    #expect(facts["tensors"]?.arrayValue?.contains { $0["encoding"]?.stringValue == "int4-g32-sym" } == true)

    let pack = CommandRun("pack", file("int4"), "-o", file("int4.adze"))
    #expect(pack.status == 0, "\(pack.errors)")
    #expect(pack.output.contains("nodes"))
    let verify = CommandRun("verify", file("int4.adze"), "--json")
    #expect(verify.status == 0)
    #expect(try verify.json()["valid"]?.boolValue == true)
    let arguments = ["-p", "The river", "-n", "12", "--temperature", "0", "--json"]
    let first = try CommandRun(["run", file("int4.adze")] + arguments).json()
    let second = try CommandRun(["run", file("int4.adze"), "-t", "1"] + arguments).json()
    let unpacked = try CommandRun(["run", file("int4")] + arguments).json()
    #expect(first["tokens"]?.arrayValue?.count == 12)
    #expect(first["tokens"] == second["tokens"] && first["tokens"] == unpacked["tokens"])
    #expect(first["text"]?.stringValue?.isEmpty == false)
    #expect(first["prompt_tokens"]?.arrayValue?.first?.intValue == 0)
  }

  @Test func resultsGoToOutputAndTheRestToErrors() throws {
    let run = CommandRun("run", Fixture.acorn, "-p", "The river", "-n", "5", "--seed", "3")
    #expect(run.status == 0)
    #expect(run.output.hasPrefix("The river"))
    #expect(run.errors.contains("tokens per second") && !run.output.contains("tokens per second"))
    #expect(
      CommandRun("run", Fixture.acorn, "-p", "The river", "-n", "5", "--seed", "3").output == run.output)
    let quiet = CommandRun("run", Fixture.acorn, "-p", "The river", "-n", "5", "--seed", "3", "--no-echo")
    #expect("The river" + quiet.output == run.output)
    let ids = try CommandRun("tokenize", Fixture.acorn, "The river", "--json").json()
    #expect(ids["ids"]?.arrayValue?.first?.intValue == 0)
    let lines = CommandRun("tokenize", Fixture.acorn, "The river", "--no-special").output.split(
      separator: "\n")
    #expect(lines.count + 1 == ids["ids"]?.arrayValue?.count)
  }

  @Test func cachesArePartOfModels() throws {
    let path = file("cache.adze")
    let quantize = CommandRun("quantize", Fixture.acorn, "-o", path, "--scheme", "KV8")
    #expect(quantize.status == 0 && quantize.output.contains("weights as they are"), "\(quantize.errors)")
    #expect(try CommandRun("inspect", path, "--json").json()["kv_cache"]?["keys"] == "int8")
    let text = ["--corpus", Fixture.evaluationText, "--context", "256", "--chunks", "1", "--json"]
    let own = try CommandRun(["perplexity", path] + text).json()
    #expect(own["cache"] == "int8" && (own["cache_bytes"]?.intValue ?? 0) > 0)
    let asked = try CommandRun(["perplexity", Fixture.acorn, "--kv-cache", "int8"] + text).json()
    #expect(own["perplexity"] == asked["perplexity"])
    let other = try CommandRun(["perplexity", path, "--kv-cache", "f16"] + text).json()
    #expect(other["perplexity"] != own["perplexity"] && other["cache"] == "f16")

    let budget = ["--kv-policy", "streaming", "--kv-budget", "64"]
    let small = try CommandRun(["perplexity", path] + budget + text).json()
    #expect(small["cache_evicted"]?.intValue ?? 0 >= 256 - 64)
    #expect(small["cache"] == "int8, streaming (4 + 60)")
    let run = CommandRun(["run", path, "-p", "The river", "-n", "90", "--ignore-eos"] + budget)
    #expect(run.status == 0 && run.errors.contains("forgotten by streaming"), "\(run.errors)")
    let bench = CommandRun(
      ["bench", path, "-p", "0", "-n", "8", "-d", "100", "-r", "1", "-o", "json"] + budget)
    #expect(try bench.json().arrayValue?.first?["kv_policy"] == "streaming")
    #expect(try bench.json().arrayValue?.first?["cache_bytes"] == small["cache_bytes"])
  }

  @Test func measuresHaveTheirKeys() throws {
    let model = packed()
    let text = ["--corpus", Fixture.evaluationText, "-c", "64", "--chunks", "4"]
    let plain = CommandRun(["perplexity", Fixture.acorn, "--json", "--save-base", file("base.kld")] + text)
    #expect(plain.status == 0, "\(plain.errors)")
    let perplexity = try plain.json()
    #expect((perplexity["perplexity"]?.doubleValue ?? 0) > 1)
    #expect((perplexity["perplexity_error"]?.doubleValue ?? 0) > 0)
    #expect(perplexity["tokens"]?.intValue == 4 * 32 || perplexity["tokens"]?.intValue == 4 * 31)
    #expect(perplexity["kl_mean"] == nil)
    let same = try CommandRun(["perplexity", Fixture.acorn, "--json", "--base", file("base.kld")] + text)
      .json()
    for key in ["kl_mean", "kl_error", "kl_median", "kl_p99"] {
      #expect(abs(same[key]?.doubleValue ?? 1) < 1e-3, "\(key)")
    }
    #expect((same["top1_agreement"]?.doubleValue ?? 0) > 0.99)
    let other = try CommandRun(["perplexity", model, "--json", "--base", file("base.kld")] + text).json()
    #expect((other["kl_mean"]?.doubleValue ?? 0) > 1e-3)

    let compare = CommandRun(["compare", Fixture.acorn, model, "--json", "--no-speed"] + text)
    let rows = try #require(try compare.json().arrayValue)
    #expect(rows.count == 2)
    for row in rows {
      for key in ["model", "file_bytes", "bits_per_weight", "perplexity", "perplexity_error", "tokens"] {
        #expect(row[key] != nil, "\(key)")
      }
      #expect(row["prefill_ts"] == nil || row["prefill_ts"]?.isNull == true)
    }
    let near = abs((rows[1]["kl_mean"]?.doubleValue ?? 0) - (other["kl_mean"]?.doubleValue ?? 1))
    #expect(near < 0.02 * (other["kl_mean"]?.doubleValue ?? 1))
    #expect((rows[1]["bits_per_weight"]?.doubleValue ?? 16) < 4.5)
  }

  @Test func windowsThatTheModelWroteAreCounted() throws {
    let run = CommandRun(
      "quantize", Fixture.acorn, "-o", file("self"), "--group-size", "32", "--corpus",
      Fixture.calibrationText,
      "--samples", "2", "--length", "64", "--self-generated", "3", "--report", file("report.json"))
    #expect(run.status == 0, "\(run.errors)")
    let json = try JSONValue.parse(contentsOf: file("report.json"))
    #expect(json["calibration"]?["windows"]?.intValue == 5)
    #expect(json["calibration"]?["self_generated"]?.intValue == 3)
    #expect(json["calibration"]?["tokens"]?.intValue == 320)
  }

  @Test func benchComparesCachesInTurn() throws {
    let run = CommandRun(
      "bench", Fixture.acorn, "-p", "8", "-n", "12", "-d", "70", "-r", "2", "-o", "json", "--kv-cache", "f16",
      "--against-cache", "int8", "--against-cache", "f32")
    #expect(run.status == 0, "\(run.errors)")
    let rows = try #require(run.json().arrayValue)
    #expect(rows.map { $0["cache"] } == ["f16", "int8", "f32", "f16", "int8", "f32"])
    #expect(rows.map { $0["n_gen"]?.intValue } == [0, 0, 0, 12, 12, 12])
    for row in rows {
      #expect(row["n_depth"]?.intValue == 70)
      #expect(row["samples_ts"]?.arrayValue?.count == 2)
      #expect((row["median_ts"]?.doubleValue ?? 0) > 0)
    }
    let bytes = rows.suffix(3).compactMap { $0["cache_bytes"]?.intValue }
    #expect(bytes.count == 3 && bytes[1] < bytes[0] && bytes[0] < bytes[2])
    #expect(rows[0]["of_first"]?.doubleValue == 1 && rows[3]["of_first"]?.doubleValue == 1)
    let table = CommandRun(
      "bench", Fixture.acorn, "-p", "0", "-n", "4", "-r", "1", "--against-cache", "KV8", "-o", "csv")
    #expect(table.output.split(separator: "\n").count == 3)
  }

  @Test func benchSpeaksAsLlamaBench() throws {
    let run = CommandRun("bench", Fixture.acorn, "-p", "8", "-n", "4", "-r", "2", "-o", "json", "-t", "1")
    #expect(run.status == 0, "\(run.errors)")
    let tests = try #require(try run.json().arrayValue)
    #expect(tests.count == 2)
    for test in tests {
      for key in ["n_prompt", "n_gen", "avg_ts", "stddev_ts"] {
        #expect(test[key]?.doubleValue != nil, "\(key)")
      }
      #expect(test["samples_ts"]?.arrayValue?.count == 2)
      #expect((test["avg_ts"]?.doubleValue ?? 0) > 0)
    }
    let table = CommandRun("bench", Fixture.acorn, "-p", "0", "-n", "2", "-r", "1", "-o", "csv")
    #expect(table.output.split(separator: "\n").count == 2)
  }

  @Test func damagedPackedFilesAreNamed() throws {
    let model = packed()
    var bytes = try FileReading.readAll(model, limit: 1 << 28)
    bytes[bytes.count - 100] ^= 1
    let path = directory.write(bytes, to: "damaged.adze")
    let run = CommandRun("verify", path)
    #expect(run.status == 65)
    #expect(run.output.isEmpty)
    #expect(run.errors.contains("error[packed.damaged]: \(path): 'panels/"), "\(run.errors)")
    bytes[40] ^= 1
    let header = CommandRun("run", directory.write(bytes, to: "header.adze"), "-p", "x")
    #expect(header.status == 65 && header.output.isEmpty)
  }

  @Test func limitsAndOutputsAreGuarded() throws {
    let quantize = ["quantize", Fixture.acorn, "--method", "rtn", "--group-size", "64"]
    let limited = CommandRun(quantize + ["-o", file("x"), "--max-memory", "1MiB"])
    #expect(limited.status == 75, "\(limited.errors)")
    let input = CommandRun(quantize + ["-o", Fixture.acorn])
    #expect(input.status == 64 && input.errors.contains("error[output.is-input]"), "\(input.errors)")
    let nowhere = CommandRun(quantize + ["-o", "/no/such/folder/x.adze"])
    #expect(nowhere.status == 73, "\(nowhere.errors)")
    directory.write([1], to: "full")
    let full = CommandRun(quantize + ["-o", directory.path])
    #expect(full.status == 73, "\(full.errors)")
    let plan = CommandRun(quantize + ["--dry-run"])
    #expect(plan.status == 0 && plan.output.contains("56 of "), "\(plan.output.suffix(200))")
    #expect(directory.entries == ["full"])
  }

  @Test func anInterruptedRunLeavesNothing() throws {
    let running = CommandRun.Running([
      "quantize", Fixture.acorn, "-o", file("never"), "--corpus", Fixture.calibrationText, "--samples", "20",
      "--length", "512", "-t", "1", "--group-size", "64",
    ])
    usleep(400_000)
    running.signal(SIGINT)
    let run = running.wait()
    #expect(run.status == 130, "\(run.errors)")
    #expect(run.errors.contains("interrupted"))
    #expect(directory.entries.isEmpty)
  }

  private func bytes(_ name: String) throws -> [UInt8] {
    try FileReading.readAll(file(name), limit: 1 << 28)
  }

  /// Killed at moments spread over the work, then finished: the bytes are those of an undisturbed run.
  @Test func aKilledRunIsResumed() throws {
    let quantize = [
      "quantize", Fixture.acorn, "--corpus", Fixture.calibrationText, "--samples", "8", "--length", "128",
      "--group-size", "32", "-t", "1",
    ]
    #expect(CommandRun(quantize + ["-o", file("undisturbed.adze")]).status == 0)
    let undisturbed = try bytes("undisturbed.adze")
    var statuses: Set<Int32> = []
    for (moment, signal) in [(150, SIGKILL), (260, SIGTERM), (330, SIGINT), (400, SIGKILL)] {
      let running = CommandRun.Running(quantize + ["-o", file("resumed.adze"), "--resume"])
      usleep(UInt32(moment) * 1000)
      running.signal(signal)
      let run = running.wait()
      statuses.insert(run.status)
      #expect(run.status == 0 || run.status == 128 + signal, "\(run.status) \(run.errors)")
      // Whole or not there, whatever the moment.
      if directory.entries.contains("resumed.adze") { #expect(try bytes("resumed.adze") == undisturbed) }
    }
    let last = CommandRun(quantize + ["-o", file("resumed.adze"), "--resume"])
    #expect(last.status == 0, "\(last.errors)")
    #expect(!statuses.isSubset(of: [0]), "no run was stopped")
    #expect(directory.entries == ["resumed.adze", "undisturbed.adze"])
    #expect(try bytes("resumed.adze") == undisturbed)
  }

  @Test func statisticsAreMadeMergedAndUsed() throws {
    for (name, seed) in [("a", "1"), ("b", "2")] {
      let run = CommandRun(
        "calibrate", Fixture.acorn, "--corpus", Fixture.calibrationText, "-o", file(name), "--samples", "2",
        "--length",
        "48", "--seed", seed, "--hessian")
      #expect(run.status == 0, "\(run.errors)")
    }
    let merge = CommandRun("calibrate", "--merge", file("a"), "--merge", file("b"), "-o", file("c"))
    #expect(merge.status == 0, "\(merge.errors)")
    let quantize = CommandRun(
      "quantize", Fixture.acorn, "-o", file("out"), "--statistics", file("c"), "--target", #"layers\.0\."#,
      "--group-size",
      "64")
    #expect(quantize.status == 0, "\(quantize.errors)")
    #expect(quantize.output.contains("7 layers"))
  }

  @Test func shardsMergeToTheFileOfOneRun() throws {
    func calibrate(_ name: String, _ options: String...) {
      let run = CommandRun(
        [
          "calibrate", Fixture.acorn, "--corpus", Fixture.calibrationText, "-o", file(name), "--samples",
          "40",
          "--length", "24", "--hessian",
        ] + options)
      #expect(run.status == 0, "\(run.errors)")
    }
    calibrate("whole")
    calibrate("first", "--shard", "1/2")
    calibrate("second", "--shard", "2/2")
    let merge = CommandRun(
      "calibrate", "--merge", file("second"), "--merge", file("first"), "-o", file("merged"))
    #expect(merge.status == 0, "\(merge.errors)")
    #expect(
      try FileReading.readAll(file("merged"), limit: 1 << 30)
        == FileReading.readAll(file("whole"), limit: 1 << 30))
    let again = CommandRun(
      "calibrate", "--merge", file("first"), "--merge", file("whole"), "-o", file("twice"))
    #expect(again.status == 65 && again.errors.contains("same corpus"), "\(again.errors)")
  }
}
