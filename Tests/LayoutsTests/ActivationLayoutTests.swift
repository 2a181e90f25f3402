import Codecs
import CompressedTensors
import FP8Format
import ModelOptFormat
import OrderedCollections
import SafeIO
import TensorCore
import TestSupport
import Testing

/// How layouts say that inputs are quantized: what is written is read back as the same scheme.
@Suite struct ActivationLayoutTests {
  private static let name = "model.layers.0.mlp.up_proj.weight"
  private static let module = "model.layers.0.mlp.up_proj"

  private static func input(_ scheme: ActivationScheme) -> InputQuantization {
    InputQuantization(scheme, scale: scheme.isStatic ? 0.375 : nil)
  }

  /// The tensors with the static scale beside them.
  private static func withScale(
    _ tensors: OrderedDictionary<String, Tensor>, _ input: InputQuantization
  ) throws -> OrderedDictionary<String, Tensor> {
    var tensors = tensors
    if let scale = input.scale { tensors[module + ".input_scale"] = try Tensor([scale], shape: [1]) }
    return tensors
  }

  @Test func compressedTensors() throws {
    let integers = try IntegerGroupCodec(bits: 8, groupSize: nil)
    let nibbles = try IntegerGroupCodec(bits: 4, groupSize: 32)
    let floats = try Float8Codec(.e4m3, granularity: .channel)
    let cases: [(any Codec, ActivationScheme, String)] = [
      (integers, .int8Token, "int-quantized"), (integers, .int8Tensor, "int-quantized"),
      (integers, .int8Group, "int-quantized"), (nibbles, .int8Token, "int-quantized"),
      (nibbles, .int4Token, "int-quantized"), (nibbles, .int4Group, "int-quantized"),
      (nibbles, .fp8Token, "int-quantized"), (floats, .fp8Token, "float-quantized"),
      (floats, .fp8Tensor, "float-quantized"),
      (try Float8Codec(.e4m3, granularity: .block(128)), .fp8Group, "float-quantized"),
    ]
    for (codec, scheme, format) in cases {
      let matrix = try Samples.matrix(codec, rows: 128, columns: 256, seed: 3)
      let input = Self.input(scheme)
      #expect(CompressedTensorsLayout.refusal(scheme, with: codec) == nil)
      let tensors = try CompressedTensorsLayout.tensors(of: Self.name, matrix, activations: input)
      let configuration = try CompressedTensorsLayout.quantizationConfiguration(
        for: [Self.name: .encoded(matrix)], ignored: [], activations: [Self.name: input])
      #expect(configuration["format"]?.stringValue == format)
      let reading = try CompressedTensorsLayout.reading(
        tensors: Self.withScale(tensors, input), configuration: configuration)
      #expect(reading.activations == [Self.name: input], "\(scheme)")
      #expect(reading.warnings.isEmpty)
      #expect(try reading.weights[Self.name]?.decoded() == matrix.decoded())
    }
    for scheme in [ActivationScheme.int8Block, .int8Outliers] {
      #expect(CompressedTensorsLayout.refusal(scheme, with: integers) != nil)
    }
    #expect(CompressedTensorsLayout.refusal(.int8Token, with: NVFP4Codec()) != nil)
  }

  /// Groups of one kind of weight and two kinds of inputs stay apart, by names of modules.
  @Test func compressedTensorsInGroups() throws {
    let codec = try IntegerGroupCodec(bits: 8, groupSize: nil)
    var weights: OrderedDictionary<String, Weight> = [:]
    var inputs: OrderedDictionary<String, InputQuantization> = [:]
    var tensors: OrderedDictionary<String, Tensor> = [:]
    for (index, scheme) in [ActivationScheme.int8Token, .int8Token, .int8Group, nil].enumerated() {
      let name = "m\(index).weight"
      let matrix = try Samples.matrix(codec, rows: 8, columns: 128, seed: index)
      weights[name] = .encoded(matrix)
      inputs[name] = scheme.map { InputQuantization($0) }
      tensors.merge(
        try CompressedTensorsLayout.tensors(of: name, matrix, activations: inputs[name])
      ) { $1 }
    }
    let configuration = try CompressedTensorsLayout.quantizationConfiguration(
      for: weights, ignored: [], activations: inputs)
    #expect(configuration["format"] == "mixed-precision")
    #expect(configuration["config_groups"]?.objectValue?.count == 3)
    let reading = try CompressedTensorsLayout.reading(tensors: tensors, configuration: configuration)
    #expect(reading.activations == inputs && reading.warnings.isEmpty)
  }

  @Test(arguments: [
    #"{"num_bits": 4, "type": "float", "strategy": "token", "dynamic": true}"#,
    #"{"num_bits": 8, "type": "int", "strategy": "token", "dynamic": true, "symmetric": false}"#,
    #"{"num_bits": 8, "type": "float", "strategy": "group", "group_size": 32, "dynamic": true}"#,
    #"{"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": false}"#,
  ]) func whatIsNotExecutedIsSaid(arguments: String) throws {
    let codec = try Float8Codec(.e4m3, granularity: .channel)
    let matrix = try Samples.matrix(codec, rows: 8, columns: 128, seed: 1)
    let configuration: JSONValue = [
      "quant_method": "compressed-tensors", "format": "float-quantized",
      "config_groups": [
        "group_0": [
          "targets": ["Linear"], "input_activations": try JSONValue.parse(Array(arguments.utf8), file: "x"),
          "weights": ["num_bits": 8, "type": "float", "strategy": "channel", "symmetric": true],
        ]
      ],
    ]
    let reading = try CompressedTensorsLayout.reading(
      tensors: CompressedTensorsLayout.tensors(of: Self.name, matrix), configuration: configuration)
    #expect(reading.activations.isEmpty && reading.warnings.count == 1)
    let again = try CompressedTensorsLayout.quantizationConfiguration(
      for: [Self.name: .encoded(matrix)], ignored: [], style: CompressedTensorsStyle(source: configuration))
    let isKept = again["config_groups"]?["group_0"]?["input_activations"] != JSONValue.null
    #expect(
      isKept == !arguments.contains("tensor"), "what is not executed stays in the file, but for absent scales"
    )
  }

  @Test func fp8() throws {
    for (granularity, scheme) in [
      (Float8Codec.Granularity.tensor, ActivationScheme.fp8Tensor), (.tensor, .fp8Token),
      (.channel, .fp8Token),
      (.block(128), .fp8Group),
    ] {
      let matrix = try Samples.matrix(
        Float8Codec(.e4m3, granularity: granularity), rows: 128, columns: 256, seed: 2)
      let input = Self.input(scheme)
      #expect(FP8Layout.refusal(scheme, with: matrix.codec) == nil)
      let tensors = try Self.withScale(FP8Layout.tensors(of: Self.name, matrix), input)
      let configuration = try FP8Layout.quantizationConfiguration(
        for: [Self.name: .encoded(matrix)], ignored: [], companions: tensors.keys)
      let reading = try FP8Layout.reading(tensors: tensors, configuration: configuration)
      #expect(reading.activations == [Self.name: input], "\(granularity)")
    }
    #expect(FP8Layout.refusal(.int8Token, with: try Float8Codec(.e4m3)) != nil)
    #expect(FP8Layout.refusal(.fp8Token, with: try IntegerGroupCodec(bits: 8, groupSize: nil)) != nil)
  }

  @Test func modelOpt() throws {
    for (granularity, scheme) in [
      (Float8Codec.Granularity.tensor, ActivationScheme.fp8Tensor), (.channel, .fp8Token),
    ] {
      let matrix = try Samples.matrix(
        Float8Codec(.e4m3, granularity: granularity), rows: 128, columns: 256, seed: 2)
      let input = Self.input(scheme)
      #expect(ModelOptLayout.refusal(scheme, with: matrix.codec) == nil)
      let tensors = try Self.withScale(ModelOptLayout.tensors(of: Self.name, matrix), input)
      let (file, member) = try ModelOptLayout.configurations(for: [Self.name: .encoded(matrix)], ignored: [])
      for configuration in [file, member] {
        let reading = try ModelOptLayout.reading(tensors: tensors, configuration: configuration)
        #expect(reading.activations == [Self.name: input], "\(granularity)")
      }
    }
  }

  @Test func staticScalesMustBeUsable() throws {
    let matrix = try Samples.matrix(Float8Codec(.e4m3, granularity: .tensor), rows: 8, columns: 128, seed: 2)
    let configuration: JSONValue = ["quant_method": "fp8", "activation_scheme": "static"]
    for scale in [nil, 0, -1, Float.nan, .infinity, .leastNonzeroMagnitude] as [Float?] {
      var tensors = try FP8Layout.tensors(of: Self.name, matrix)
      if let scale { tensors[Self.module + ".input_scale"] = try Tensor([scale], shape: [1]) }
      let reading = try FP8Layout.reading(tensors: tensors, configuration: configuration)
      #expect(
        reading.activations.isEmpty && reading.warnings.count == 1, "\(scale.map { "\($0)" } ?? "none")")
    }
  }
}
