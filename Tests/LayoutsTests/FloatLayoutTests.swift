import Codecs
import FP8Format
import MLXFormat
import MXFP4Format
import ModelOptFormat
import OrderedCollections
import SafeIO
import TensorCore
import TestSupport
import Testing

/// What the layouts of FP8, FP4 and MLX codes write, refuse and say in configurations.
@Suite struct FloatLayoutTests {
  private func weights(_ codecs: [String], rows: Int = 48, columns: Int = 256) throws -> OrderedDictionary<
    String, Weight
  > {
    var result: OrderedDictionary<String, Weight> = [:]
    for (index, name) in codecs.enumerated() {
      let codec = try CodecRegistry.codec(canonicalName: name)
      result["model.layers.\(index).proj.weight"] = .encoded(
        try Samples.matrix(codec, rows: rows, columns: columns, seed: index))
    }
    return result
  }

  private func expectSame(_ first: LayoutReading, _ second: OrderedDictionary<String, Weight>) throws {
    #expect(Array(first.weights.keys) == Array(second.keys))
    for (name, weight) in second {
      guard case .encoded(let left) = weight, case .encoded(let right)? = first.weights[name] else {
        Issue.record("\(name) is not encoded")
        continue
      }
      #expect(left.codec.canonicalName == right.codec.canonicalName)
      #expect(Samples.differences(left.planes, right.planes) == [], "\(name)")
    }
  }

  @Test(arguments: ["fp8_e4m3-tensor", "fp8_e4m3-channel", "fp8_e4m3-b128", "fp8_e4m3-b128-bf16"])
  func fp8ReadsBackWhatItWrites(name: String) throws {
    let weights = try weights([name, name], rows: 130, columns: 200)
    let configuration = try FP8Layout.quantizationConfiguration(for: weights, ignored: ["lm_head"])
    let tensors = try Samples.tensors(LayoutReading(weights: weights)) { try FP8Layout.tensors(of: $0, $1) }
    try expectSame(FP8Layout.reading(tensors: tensors, configuration: configuration), weights)
    #expect(configuration["quant_method"] == (name.hasSuffix("channel") ? "fbgemm_fp8" : "fp8"))
    #expect((configuration["weight_block_size"] != nil) == name.contains("b128"))
    let listed = configuration["ignored_layers"] ?? configuration["modules_to_not_convert"]
    #expect(listed == ["lm_head"])
  }

  @Test func fp8DeclaresStaticActivationsWhereThereAreScales() throws {
    let weights = try weights(["fp8_e4m3-tensor"])
    let dynamic = try FP8Layout.quantizationConfiguration(for: weights, ignored: [])
    let fixed = try FP8Layout.quantizationConfiguration(
      for: weights, ignored: [], companions: ["model.layers.0.proj.input_scale"])
    #expect(dynamic["activation_scheme"] == "dynamic" && fixed["activation_scheme"] == "static")
  }

  @Test func fp8RefusesMixturesAndOtherCodecs() throws {
    #expect(throws: FP8Error.self) {
      try FP8Layout.quantizationConfiguration(
        for: self.weights(["fp8_e4m3-tensor", "fp8_e4m3-channel"]), ignored: [])
    }
    for name in ["int4-g128-sym", "fp8_e5m2-tensor", "fp8_e4m3-b64", "mxfp4"] {
      let codec = try CodecRegistry.codec(canonicalName: name)
      #expect(FP8Layout.refusal(codec, rows: 64, columns: 256) != nil, "\(name)")
      let matrix = try Samples.matrix(codec, rows: 8, columns: 256, seed: 1)
      let error = #expect(throws: FP8Error.self) { try FP8Layout.tensors(of: "a.weight", matrix) }
      #expect(error?.diagnostic.code == "fp8.unrepresentable")
    }
    let good = try Samples.matrix(
      CodecRegistry.codec(canonicalName: "fp8_e4m3-tensor"), rows: 8, columns: 16, seed: 1)
    #expect(throws: FP8Error.self) { try FP8Layout.tensors(of: "weight", good) }
    #expect(throws: FP8Error.self) { try FP8Layout.tensors(of: "a.table", good) }
  }

  @Test func scalesOfActivationsBecomeCompanions() throws {
    let layout = FloatLayout.all[0]
    let vector = try #require(layout.vectors.first { $0.hasSuffix("/tensor") })
    let reading = try layout.reading(vector).1
    #expect(Array(reading.companions.keys).sorted() == ["a.input_scale", "self_attn.k_scale"])
    #expect(reading.weights["n.weight"]?.encodingName == "bf16")
    #expect(reading.warnings.isEmpty)
  }

  @Test func codesWithoutScalesAreKeptAndSaid() throws {
    let tensor = try Tensor(bytes: [1, 2, 3, 4], elementType: .f8e4m3, shape: [2, 2])
    let reading = try FP8Layout.reading(
      tensors: ["a.weight": tensor], configuration: ["quant_method": "fp8"])
    #expect(reading.weights["a.weight"]?.encodingName == "f8_e4m3" && reading.warnings.count == 1)
  }

  @Test(arguments: ["fp8_e4m3-tensor", "fp8_e4m3-channel", "nvfp4"])
  func modelOptReadsBackWhatItWrites(name: String) throws {
    let weights = try weights([name, name])
    let configurations = try ModelOptLayout.configurations(
      for: weights, ignored: ["lm_head"], companions: ["k_proj.k_scale"])
    let tensors = try Samples.tensors(LayoutReading(weights: weights)) {
      try ModelOptLayout.tensors(of: $0, $1)
    }
    for configuration in [configurations.file, configurations.member] {
      try expectSame(ModelOptLayout.reading(tensors: tensors, configuration: configuration), weights)
    }
    #expect(configurations.file["quantization"]?["exclude_modules"] == ["lm_head"])
    #expect(configurations.file["quantization"]?["kv_cache_quant_algo"] == "FP8")
    #expect(configurations.member["quant_method"] == "modelopt")
    let missing = ModelOptLayout.modulesWithoutInputScale(weights, companions: [:])
    #expect(missing.count == (name.hasSuffix("channel") ? 0 : 2))
  }

  @Test func modelOptRefusesOtherCodecsAndMixtures() throws {
    for name in ["int4-g128-sym", "fp8_e5m2-tensor", "fp8_e4m3-b128", "mxfp4"] {
      let codec = try CodecRegistry.codec(canonicalName: name)
      #expect(ModelOptLayout.refusal(codec, rows: 64, columns: 256) != nil, "\(name)")
    }
    #expect(throws: ModelOptError.self) {
      try ModelOptLayout.configurations(for: self.weights(["fp8_e4m3-tensor", "nvfp4"]), ignored: [])
    }
  }

  @Test func factorsOfInputsAreMultipliedIn() throws {
    let layout = FloatLayout.all[1]
    let vector = try #require(layout.vectors.first { $0.hasSuffix("/int4-awq") })
    let reading = try layout.reading(vector).1
    #expect(reading.weights["a.weight"]?.encodingName == "f32")
    #expect(reading.weights["b.weight"]?.encodingName == "int4-g128-sym-bf16")
    #expect(reading.warnings.count == 1 && reading.companions.isEmpty)
  }

  @Test func mlxReadsBackWhatItWritesAndNamesWhatDiffers() throws {
    let weights = try weights([
      "affine4-g64", "affine4-g64", "affine3-g32-bf16", "affine8-g128-f32", "affine5-g64", "affine6-g64",
      "affine2-g64", "mxfp4", "mxfp8",
    ])
    let configuration = try MLXLayout.quantizationConfiguration(for: weights, ignored: ["lm_head"])
    let tensors = try Samples.tensors(LayoutReading(weights: weights)) { try MLXLayout.tensors(of: $0, $1) }
    try expectSame(MLXLayout.reading(tensors: tensors, configuration: configuration), weights)
    #expect(
      configuration["bits"] == 4 && configuration["group_size"] == 64 && configuration["lm_head"] == false)
    #expect(configuration["model.layers.7.proj"]?["mode"] == "mxfp4")
    #expect(configuration["model.layers.1.proj"] == nil)
  }

  @Test(arguments: ["affine7-g64", "affine4-g16", "affine4-g128", "nvfp4", "int4-g64-asym", "nf4-g64"])
  func mlxRefusesWhatItDoesNotHave(name: String) throws {
    let codec = try CodecRegistry.codec(canonicalName: name)
    #expect(MLXLayout.refusal(codec, rows: 8, columns: 192) != nil)
    let matrix = try Samples.matrix(codec, rows: 8, columns: 192, seed: 2)
    #expect(throws: MLXError.self) { try MLXLayout.tensors(of: "a.weight", matrix) }
  }

  @Test func expertsAreStackedAgainOnlyWhenAllAreThere() throws {
    let codec = MXFP4Codec()
    var weights: OrderedDictionary<String, Weight> = [:]
    for expert in 0..<3 {
      weights["m.experts.\(expert).up.weight"] = .encoded(
        try Samples.matrix(codec, rows: 4, columns: 64, seed: expert))
    }
    let tensors = try MXFP4Layout.tensors(for: weights)
    #expect(tensors["m.experts.up_blocks"]?.shape == [3, 4, 2, 16])
    try expectSame(
      MXFP4Layout.reading(
        tensors: tensors, configuration: MXFP4Layout.quantizationConfiguration(ignored: [])), weights)
    weights["m.experts.1.up.weight"] = nil
    #expect(throws: MXFP4Error.self) { try MXFP4Layout.tensors(for: weights) }
    weights["m.experts.1.up.weight"] = .encoded(try Samples.matrix(codec, rows: 5, columns: 64, seed: 9))
    #expect(throws: MXFP4Error.self) { try MXFP4Layout.tensors(for: weights) }
    #expect(MXFP4Layout.refusal(NVFP4Codec(), rows: 4, columns: 64) != nil)
  }
}
