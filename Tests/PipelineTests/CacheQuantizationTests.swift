import Calibration
import Codecs
import Execution
import Kernels
import OrderedCollections
import Pipeline
import SafeIO
import Safetensors
import TensorCore
import TestSupport
import Testing

/// How keys and values are cached is part of a model: chosen by presets and recipes, stored by containers, honoured when it runs.
@Suite(.serialized) struct CacheQuantizationTests {
  private let directory = TemporaryDirectory()
  private let output = TemporaryDirectory()
  private let tiny: LoadedModel
  private let windows = TestModels.tinyWindows()
  private static let tokens: [Int32] = (0..<100).map { $0 * 7 % 48 }

  init() throws {
    try TestModels.writeTiny(to: directory)
    tiny = try ModelFormats.load(directory.path)
  }

  private func preset(_ name: String) throws -> QuantizationRecipe {
    try QuantizationRecipe(preset: .named(name), for: tiny, methodName: "rtn", hasCalibration: true)
  }

  private func logits(_ model: LoadedModel, _ cache: KVFormat? = nil) throws -> [Float] {
    var options = ExecutionOptions(activations: .float32, cache: cache)
    options.unstatedCache = .f32
    return try TestModels.logits(model, Self.tokens, options: options)
  }

  private func written(_ model: QuantizedModel, _ container: String, _ name: String) throws -> LoadedModel {
    let target = try ModelContainers.container(named: container, output: "")
    try target.write(model, to: output.file(name))
    return try ModelFormats.load(output.file(name))
  }

  @Test(arguments: [
    ("KV8", KVFormat(keys: .int8), ["compressed-tensors"]),
    ("KV4", KVFormat(keys: .int4, rotation: .both, keyScales: .channel, recent: 64), []),
    ("KVFP8", KVFormat(keys: .fp8, keyScales: .tensor), ["compressed-tensors", "modelopt"]),
    ("W8A8KV8", KVFormat(keys: .int8), ["compressed-tensors"]),
    ("FP8-KVFP8", KVFormat(keys: .fp8, keyScales: .tensor), ["compressed-tensors", "modelopt"]),
  ]) func presetsAreStoredAndHonoured(name: String, format: KVFormat, containers: [String]) throws {
    let model = try TestModels.quantized(tiny, preset(name), .windows(windows))
    let cache = try #require(model.cache)
    #expect(cache.format == format && cache.scales.count == (format.isStatic ? 2 : 0))
    #expect(model.quantizedNames.count == (name.hasPrefix("KV") ? 0 : 14))
    for container in containers + ["adze"] {
      let loaded = try written(model, container, container)
      #expect(loaded.warnings.isEmpty, "\(container): \(loaded.warnings)")
      #expect(loaded.statedCache == cache, "\(container)")
      let found = try logits(loaded)
      let isFinite = found.allSatisfy { $0.isFinite }
      #expect(isFinite)
      #expect(try bits(found) == bits(logits(loaded, format)), "\(container): as with the option")
      #expect(try bits(found) != bits(logits(loaded, .f32)), "\(container): something is rounded")
      #expect(try bits(logits(loaded, KVFormat(keys: .int8, values: .f16))) != bits(found), "overruled")
      let inspection = try ModelInspection(path: output.file(container))
      #expect(inspection.json(withTensors: false)["kv_cache"]?["keys"]?.stringValue == format.keys.rawValue)
      #expect(inspection.facts.contains { $0.0 == "KV cache" && $0.1.contains("\(format)") })
      #expect(
        try ModelDoctor(path: output.file(container), runsModel: false, pool: TestModels.pool).run()
          .allSatisfy { $0.check != "cache-scales" })
    }
  }

  @Test func staticScalesAreThoseOfKeysAndValues() throws {
    #expect(
      TestModels.failure { _ = try TestModels.quantized(tiny, preset("KVFP8")) }?.hint?.contains("--corpus")
        == true)
    let model = try TestModels.quantized(tiny, preset("KVFP8"), .windows(windows))
    #expect(model.cacheReports.map(\.layer) == [0, 1])
    // What a session of its own puts into its caches.
    let session = Session(
      program: try LanguageModel(tiny, options: .reference).program, pool: TestModels.pool)
    var largest: [Int: (keys: Float, values: Float)] = [:]
    session.observeCache = { number, keys, values, _ in
      let known = largest[number] ?? (0, 0)
      largest[number] = (
        max(known.keys, keys.map(abs).max() ?? 0), max(known.values, values.map(abs).max() ?? 0)
      )
    }
    for window in windows.windows {
      session.reset()
      try unsafe session.forward(window) { _ in }
    }
    for report in model.cacheReports {
      #expect(report.tokenCount == windows.tokenCount)
      #expect(report.keys.relativeError > 0 && report.keys.relativeError < 0.01)
      // Calibration keeps what lies between layers as bfloat16.
      let expected = try #require(largest[report.layer])
      for scale in [report.keys.scale, report.values.scale] {
        let stored = try #require(scale) * 256
        #expect(Float(Float16(stored)) == stored, "a page holds it exactly")
      }
      let scales = try #require(model.cache?.scales[report.layer])
      #expect(abs(scales.keys[0] * 448 - expected.keys) < expected.keys * 5e-3)
      #expect(abs(scales.values[0] * 448 - expected.values) < expected.values * 5e-3)
    }
    let json = model.reportJSON["kv_cache"]
    #expect(json?["layers"]?.arrayValue?.count == 2 && json?["scales"]?.arrayValue?.count == 2)

    let path = try written(model, "compressed-tensors", "scales").path
    let tensors = try SafetensorsFile(path: path + "/model.safetensors").tensors
    let stored = try #require(tensors["model.layers.1.self_attn.k_scale"])
    #expect(stored.shape.dimensions == [1] && stored.elementType == .f32)
    #expect(try stored.floats() == model.cache?.scales[1]?.keys)
    let modelOpt = try written(model, "modelopt", "opt").path
    #expect(
      try SafetensorsFile(path: modelOpt + "/model.safetensors").tensors[
        "model.layers.0.self_attn.v_proj.v_scale"]?.floats() == model.cache?.scales[0]?.values)
    let file = try JSONValue.parse(contentsOf: modelOpt + "/hf_quant_config.json")
    #expect(file["quantization"]?["kv_cache_quant_algo"] == "FP8")

    var percentile = try preset("KVFP8")
    percentile.cache = CacheRecipe(KVFormat(keys: .int8, keyScales: .tensor), observer: .mse)
    let other = try TestModels.quantized(tiny, percentile, .windows(windows))
    #expect((other.cache?.scales[0]?.keys[0] ?? 1) < (model.cache?.scales[0]?.keys[0] ?? 0) * 448 / 127)
  }

  /// The model's own scales, and no others.
  @Test func staticScalesBelongToTheModel() throws {
    let model = try written(
      TestModels.quantized(tiny, preset("KVFP8"), .windows(windows)), "adze", "static.adze")
    let fixed = KVFormat(keys: .fp8, keyScales: .tensor)
    #expect(try bits(logits(model, fixed)) == bits(logits(model)))
    #expect(TestModels.failure { _ = try logits(tiny, fixed) } != nil)
    #expect(TestModels.failure { _ = try logits(model, KVFormat(keys: .int8, keyScales: .tensor)) } != nil)
    var stage = try PackStage(tiny, options: PackOptions())
    stage.setCache(fixed)
    #expect(TestModels.failure { _ = try stage.write(to: output.file("none.adze")) } != nil)
    #expect(!FileReading.exists(output.file("none.adze")))
    // Another cache, chosen when it is packed.
    var other = try PackStage(tiny, options: PackOptions())
    other.setCache(KVFormat(keys: .int4, recent: 3))
    _ = try other.write(to: output.file("four.adze"))
    let four = try ModelFormats.load(output.file("four.adze"))
    #expect(four.statedCache == CacheQuantization(KVFormat(keys: .int4, recent: 3)))
    #expect(try bits(logits(four)) == bits(logits(tiny, KVFormat(keys: .int4, recent: 3))))
  }

  @Test func recipesNameCaches() throws {
    func recipe(_ yaml: String) throws -> QuantizationRecipe {
      try RecipeDocument(yaml: yaml, path: "r.yaml").recipe(for: tiny, hasCalibration: true)
    }
    let stages = "\nstages: [{quantize: {codec: int8, group_size: 32, method: rtn}}]"
    #expect(try recipe("kv_cache: KV4" + stages).cache?.format.recent == 64)
    let mapping = try recipe(
      "kv_cache: {keys: int8, values: int4, rotation: both, key_scales: channel, recent: 16}" + stages)
    #expect(
      mapping.cache?.format
        == KVFormat(keys: .int8, values: .int4, rotation: .both, keyScales: .channel, recent: 16))
    #expect(mapping.json["kv_cache"]?["recent"] == 16)
    let fixed = try recipe("kv_cache: {type: fp8, key_scales: tensor, observer: percentile}")
    #expect(fixed.hasStaticCache && !fixed.quantizesWeights && fixed.cache?.observer == .percentile(0.9999))
    #expect(try fixed.choices(in: tiny.graph).isEmpty)
    #expect(try recipe("stages: [{quantize: {preset: W4A8KV4}}]").cache?.format.keys == .int4)
    #expect(
      try recipe("kv_cache: int8\nstages: [{quantize: {preset: W4A8KV4}}]").cache?.format
        == KVFormat(keys: .int8))
    for wrong in [
      "kv_cache: int5", "kv_cache: {type: int8, keys: int8}", "kv_cache: {values: int8}",
      "kv_cache: {type: int8, rotation: values}", "kv_cache: {type: int8, recent: -1}",
      "kv_cache: {type: int8, recnt: 1}", "kv_cache: {type: int4, key_scales: tensor}",
      "kv_cache: {type: int8, observer: best}", "kv_cache: [int8]",
      "stages: [{quantize: {preset: KV8, rules: [{targets: [down], codec: int8}]}}]",
      "stages: [{quantize: {targets: [down], preset: W4A16KV4}}, {quantize: {codec: int8}}]",
    ] {
      let failure = TestModels.failure { _ = try recipe(wrong.contains("stages") ? wrong : wrong + stages) }
      #expect(failure?.status == .usage, "\(wrong)")
    }
    #expect(TestModels.failure { _ = try QuantizationPreset.named("W4A8KV5") } != nil)
    #expect(TestModels.failure { _ = try QuantizationPreset.named("KV8KV8") } != nil)
  }

  @Test func containersThatCannotSayItRefuse() throws {
    let rotated = KVFormat(keys: .int4, rotation: .keys)
    for (container, format) in [
      ("gguf", KVFormat(keys: .int8)), ("gptq", KVFormat(keys: .int8)),
      ("safetensors", KVFormat(keys: .int8)),
      ("fp8", KVFormat(keys: .fp8, keyScales: .tensor)), ("compressed-tensors", rotated),
      ("modelopt", KVFormat(keys: .int8)),
    ] {
      let target = try ModelContainers.container(named: container, output: "")
      let failure = try #require(TestModels.failure { try target.check(cache: format) }, "\(container)")
      #expect(failure.status == .usage && failure.hint?.contains(".adze") == true)
      try target.check(cache: nil)
    }
    // A conversion goes on without, and says so; a container that can say it keeps it.
    let model = try written(TestModels.quantized(tiny, preset("KV8")), "compressed-tensors", "kv8")
    let export = try ModelExport(source: model, weights: model.requireCheckpoint(), history: .null)
    let gguf = try ModelContainers.container(named: "gguf", output: "")
    #expect(gguf.cacheWarning(for: export)?.contains("int8") == true)
    let same = try ModelContainers.container(named: "compressed-tensors", output: "")
    #expect(same.cacheWarning(for: export) == nil)
    try same.write(export, to: output.file("again"))
    #expect(try ModelFormats.load(output.file("again")).cache == model.cache)
  }

  /// Scales of the source are not those of another cache.
  @Test func anotherCacheReplacesTheSources() throws {
    let source = try written(
      TestModels.quantized(tiny, preset("KVFP8"), .windows(windows)), "compressed-tensors", "fp8cache")
    #expect(source.companions.count == 4)
    let kept = try written(TestModels.quantized(source, preset("W8A8")), "compressed-tensors", "kept")
    #expect(kept.cache == source.cache && kept.companions.count == 4)
    let other = try TestModels.quantized(source, preset("W8A8KV8"))
    #expect(
      try ModelContainers.container(named: "adze", output: "").companionWarning(for: ModelExport(other))
        == nil)
    let loaded = try written(other, "compressed-tensors", "replaced")
    #expect(loaded.cache == CacheQuantization(KVFormat(keys: .int8)) && loaded.companions.isEmpty)
    var rotated = try preset("W8A8")
    rotated.transforms = [.init(name: "rotation")]
    #expect(TestModels.failure { _ = try TestModels.quantized(source, rotated) }?.status == .usage)
    rotated.cache = CacheRecipe(KVFormat(keys: .int8))
    #expect(try TestModels.quantized(source, rotated).cache?.format == KVFormat(keys: .int8))
  }

  /// Scales that are missing or of no use: nothing is computed with them, and the doctor says why.
  @Test(arguments: [nil, 0, -1, Float.nan, .infinity]) func badScalesAreSeen(value: Float?) throws {
    let model = try written(
      TestModels.quantized(tiny, preset("KVFP8"), .windows(windows)), "compressed-tensors", "bad")
    let file = model.path + "/model.safetensors"
    var tensors = try SafetensorsFile(path: file).tensors
    tensors["model.layers.1.self_attn.v_scale"] = try value.map { try Tensor([$0], shape: [1]) }
    if value == nil { tensors["model.layers.1.self_attn.k_scale"] = nil }
    try SafetensorsWriter.write(tensors, to: file)
    let loaded = try ModelFormats.load(model.path)
    #expect(loaded.cache == nil && loaded.warnings.contains { $0.contains("KV cache") })
    #expect(try bits(logits(loaded)) == bits(logits(tiny)))
    let findings = try ModelDoctor(path: model.path, runsModel: false, pool: TestModels.pool).run()
    #expect(findings.contains { $0.check == "cache-scales" && $0.severity == .error })
  }

  @Test(arguments: [
    #""keys":"int8""#, #""keys":"int9""#, #""rotation":"all""#, #""recent":-1"#, #""key_scales":"tensor""#,
    #""scales":[]"#, #""scales":{}"#, #""scales":[{"layer":0}]"#,
    #""key_scales":"tensor","scales":[{"layer":0,"keys":[1],"values":[1]}]"#,
    #""key_scales":"tensor","scales":[{"layer":0,"keys":[1],"values":[1]},{"layer":1,"keys":[0],"values":[1]}]"#,
    #""key_scales":"tensor","scales":[{"layer":0,"keys":[1],"values":[1]},{"layer":0,"keys":[1],"values":[1]}]"#,
    #""key_scales":"tensor","scales":[{"layer":0,"keys":[1,1,1],"values":[1]},{"layer":1,"keys":[1],"values":[1]}]"#,
  ]) func hostileCachesInPackedFilesAreRefused(change: String) throws {
    let base = #"{"keys":"int8","values":"int8","rotation":"none","key_scales":"token","recent":0}"#
    var object = try #require(JSONValue.parse(Array(base.utf8), file: "base").objectValue)
    let changed = try #require(JSONValue.parse(Array("{\(change)}".utf8), file: "change").objectValue)
    for (key, value) in changed { object[key] = value }
    let isFine = change == #""keys":"int8""# || change == #""scales":[]"#
    let cache = CacheQuantization(json: .object(object))
    let problem = cache.map { $0.problem(heads: [0: 2, 1: 2]) }
    #expect((cache != nil && problem == .some(nil)) == isFine, "\(change)")
  }
}

private func bits(_ values: [Float]) -> [UInt32] { values.map(\.bitPattern) }
