import SafeIO
import TestSupport
import Testing

@Suite struct UsageTests {
  /// Every command with the options that its help must show.
  static let commands: [(name: String, options: [String])] = [
    ("inspect", ["--tensors", "--json", "--draw", "--block"]),
    ("tokenize", ["--file", "--no-special", "--json"]),
    (
      "calibrate",
      [
        "--corpus", "--samples", "--length", "--seed", "--self-generated", "--output", "--hessian", "--merge",
        "--threads", "--isa",
      ]
    ),
    (
      "quantize",
      [
        "--output", "--method", "--codec", "--group-size", "--sym", "--asym", "--corpus", "--samples",
        "--length",
        "--seed", "--self-generated", "--statistics", "--damping", "--block-size", "--act-order",
        "--no-act-order",
        "--static-groups",
        "--scale-search", "--scale-type", "--target", "--ignore", "--container", "--max-memory",
        "--max-fallback",
        "--dry-run", "--report", "--threads", "--isa", "--kv-cache", "--kv-observer",
      ]
    ),
    ("pack", ["--output", "--compress", "--isa", "--explain", "--kv-cache"]),
    ("verify", ["--json"]),
    (
      "run",
      [
        "--prompt", "--file", "-n", "--temperature", "--top-k", "--top-p", "--seed", "--no-echo",
        "--ignore-eos",
        "--json", "--activations", "--kv", "--chunk", "--threads",
      ]
    ),
    (
      "perplexity",
      [
        "--corpus", "-c", "--context", "--kv-policy", "--kv-budget", "--chunks", "--score", "--base",
        "--save-base", "--json", "--activations", "--kv",
      ]
    ),
    ("compare", ["--corpus", "-c", "--chunks", "--score", "--no-speed", "--report", "--json"]),
    (
      "optimize",
      [
        "--list", "--explain", "--passes", "--stop-after", "--print-ir-after", "--prove", "--draw", "--block",
        "--reproducer", "--goldens", "--json",
      ]
    ),
    ("bench", ["--ablate", "-p", "-n", "-d", "-r", "-o", "--against-cache", "--threads", "--isa"]),
    ("logits", ["--input", "--output", "--chunk", "--activations", "--kv", "--threads"]),
  ]

  @Test func theExecutableIsBuilt() { #expect(CommandRun.executable != nil) }

  @Test(arguments: commands.map(\.name)) func helpShowsEveryOption(command: String) throws {
    let run = CommandRun(command, "--help")
    #expect(run.status == 0)
    #expect(run.errors.isEmpty)
    let options = try #require(Self.commands.first { $0.name == command }).options
    for option in options {
      #expect(run.output.contains(option), "\(command) --help does not mention \(option)")
    }
  }

  @Test func theRootHelpNamesEveryCommand() {
    let run = CommandRun("--help")
    #expect(run.status == 0)
    for command in Self.commands { #expect(run.output.contains("  \(command.name)"), "\(command.name)") }
    #expect(CommandRun("--version").output.split(separator: ".").count == 3)
  }

  @Test(
    arguments: [
      ["unknown"], ["inspect"], ["inspect", "a", "b"], ["inspect", "--no-such-option", "x"],
      ["quantize", Fixture.acorn],
      ["quantize", Fixture.acorn, "-o", "x", "--group-size", "many"],
      ["quantize", Fixture.acorn, "-o", "x", "--max-memory", "lots"],
      ["quantize", Fixture.acorn, "-o", "x", "--method", "gptq", "--group-size", "64"],
      ["quantize", Fixture.acorn, "-o", "x", "--method", "magic"],
      ["quantize", Fixture.acorn, "-o", "x", "--method", "rtn", "--codec", "int9"],
      ["quantize", Fixture.acorn, "-o", "x", "--method", "rtn", "--ignore", "nothing_like_this"],
      ["quantize", Fixture.acorn, "-o", "x", "--method", "rtn", "--target", "("],
      ["quantize", Fixture.acorn, "-o", "x", "--method", "rtn", "--container", "tar"],
      ["quantize", Fixture.acorn, "-o", "x", "--method", "rtn", "--damping", "1"],
      ["quantize", Fixture.acorn, "-o", "x", "--corpus", "a", "--statistics", "b"],
      ["quantize", Fixture.acorn, "-o", "x", "--self-generated", "2"],
      ["calibrate", Fixture.acorn, "-o", "x", "--corpus", "a", "--self-generated", "2", "--shard", "1/2"],
      ["calibrate", "-o", "x"], ["calibrate", "--merge", "a", "-o", "x"],
      ["pack", Fixture.acorn, "-o", "x", "--compress", "rar"],
      ["pack", Fixture.acorn, "-o", "x", "--isa", "vax"],
      ["run", Fixture.acorn, "-p", "a", "--temperature", "-1"],
      ["run", Fixture.acorn, "-p", "a", "--top-p", "nan"], ["run", Fixture.acorn, "-p", "a", "--isa", "vax"],
      ["perplexity", Fixture.acorn], ["compare", Fixture.acorn, "--corpus", "x"],
      ["bench", Fixture.acorn, "-r", "0"],
      ["bench", Fixture.acorn, "-p", "1,,2"],
      ["bench", Fixture.acorn, "--ablate", "--against-cache", "int8"],
      ["run", Fixture.acorn, "-p", "a", "--kv-policy", "lru"],
      ["run", Fixture.acorn, "-p", "a", "--kv-policy", "h2o"],
      ["run", Fixture.acorn, "-p", "a", "--kv-policy", "streaming", "--kv-budget", "3"],
      ["run", Fixture.acorn, "-p", "a", "--kv-budget", "64"],
      ["run", Fixture.acorn, "-p", "a", "--kv-policy", "streaming", "--kv-cache", "KV4"],
      ["run", Fixture.acorn, "-p", "a", "--kv-cache", "int4", "--kv-key-scales", "tensor"],
      ["run", Fixture.acorn, "-p", "a", "--kv-cache", "int9"],
      ["quantize", Fixture.acorn, "-o", "x.gguf", "--scheme", "KV8"],
      ["quantize", Fixture.acorn, "-o", "x.adze", "--scheme", "KVFP8"],
      ["quantize", Fixture.acorn, "-o", "x.adze", "--scheme", "KV8", "--activation-scheme", "int8-token"],
      ["pack", Fixture.acorn, "-o", "x.adze", "--kv-cache", "KVFP8"],
      ["logits", Fixture.acorn, "--input", "x", "-o", "y", "--chunk", "0"],
      ["tokenize", Fixture.acorn],
    ])
  func wrongUsageIsStatus64(arguments: [String]) {
    let run = CommandRun(arguments)
    #expect(run.status == 64, "\(arguments): \(run.errors)")
    #expect(run.output.isEmpty)
    #expect(!run.errors.isEmpty)
  }

  @Test func wrongUsagePointsToTheHelpOfItsCommand() {
    let run = CommandRun("quantize", Fixture.acorn, "-o", "x", "--scheme", "W8A8")
    #expect(run.status == 64)
    #expect(run.errors.contains("needs calibration"))
    #expect(run.errors.contains("adze help quantize"))
  }

  @Test(arguments: [
    ["inspect"], ["verify"], ["tokenize", "--file", "/dev/null"], ["bench"], ["run", "-p", "x"],
    ["pack", "-o", "/tmp/adze-never-written"], ["perplexity", "--corpus", "/dev/null"],
  ])
  func aMissingModelIsStatus66(command: [String]) {
    let run = CommandRun([command[0], "/no/such/model"] + command.dropFirst())
    #expect(run.status == 66, "\(command): \(run.errors)")
    #expect(run.errors.hasPrefix("error[model.missing]: /no/such/model: "), "\(run.errors)")
    #expect(run.output.isEmpty)
  }

  @Test func damageIsStatus65AndNamed() throws {
    let directory = TemporaryDirectory()
    for name in try FileReading.list(Fixture.acorn) {
      directory.write(try FileReading.readAll(Fixture.acorn + "/" + name, limit: 1 << 28), to: name)
    }
    let weights = try FileReading.readAll(directory.file("model.safetensors"), limit: 1 << 28)
    directory.write(Array(weights.dropLast(1)), to: "model.safetensors")
    let run = CommandRun("inspect", directory.path)
    #expect(run.status == 65)
    #expect(run.errors.hasPrefix("error[safetensors."), "\(run.errors)")
    #expect(run.errors.contains("\(directory.path)/model.safetensors: "), "\(run.errors)")
    directory.write(weights, to: "model.safetensors")
    directory.write(Array("{\"model_type\": \"llama\",}".utf8), to: "config.json")
    let configuration = CommandRun("inspect", directory.path)
    #expect(configuration.status == 65)
    #expect(configuration.errors.contains("config.json: at byte "), "\(configuration.errors)")
    directory.write(Array(weights.prefix(5)), to: "odd.bin")
    #expect(CommandRun("inspect", directory.file("odd.bin")).status == 65)
    #expect(CommandRun("verify", directory.file("odd.bin")).status == 65)
  }
}
