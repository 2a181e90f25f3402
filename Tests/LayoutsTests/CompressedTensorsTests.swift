import Codecs
import CompressedTensors
import OrderedCollections
import SafeIO
import Safetensors
import TensorCore
import TestSupport
import Testing

@Suite("compressed-tensors") struct CompressedTensorsTests {
  private func configuration(_ bits: Int, _ groupSize: Int?, symmetric: Bool = true) -> JSONValue {
    let weights: JSONValue = [
      "num_bits": JSONValue(bits), "type": "int", "symmetric": .bool(symmetric),
      "strategy": groupSize == nil ? "channel" : "group",
      "group_size": groupSize.map { JSONValue($0) } ?? nil,
    ]
    return [
      "quant_method": "compressed-tensors", "format": "pack-quantized",
      "config_groups": ["group_0": ["targets": ["Linear"], "weights": weights]],
      "ignore": ["lm_head", "re:.*gate$"],
    ]
  }

  private func matrix(_ codec: IntegerGroupCodec, rows: Int, columns: Int, seed: Int) throws -> EncodedMatrix
  {
    var generator = SeededGenerator(seed: UInt64(seed))
    let values = (0..<rows * columns).map { _ in generator.normal() * 0.1 }
    return try codec.encode(
      FloatMatrix(rows: rows, columns: columns, values: values), importance: nil, search: .extremes)
  }

  private func bytes(_ tensor: Tensor?) -> [UInt8] { Samples.bytes(tensor) }

  private static func tensors(
    _ weights: OrderedDictionary<String, Weight>, style: CompressedTensorsStyle = CompressedTensorsStyle()
  ) throws -> OrderedDictionary<String, Tensor> {
    try Samples.tensors(LayoutReading(weights: weights)) { name, matrix in
      try CompressedTensorsLayout.tensors(of: name, matrix, style: style)
    }
  }

  private func read(
    _ tensors: OrderedDictionary<String, Tensor>, _ configuration: JSONValue
  ) throws -> OrderedDictionary<String, Weight> {
    try CompressedTensorsLayout.reading(tensors: tensors, configuration: configuration).weights
  }

  @Test("gives back what it got", arguments: 2...8, [true, false])
  func roundTrip(bits: Int, isSymmetric: Bool) throws {
    for (rows, columns, groupSize, scaleType) in [
      (5, 64, 32, .f16), (33, 24, 8, .bf16), (7, 40, nil, .f32), (1, 32, 32, .f16),
    ] as [(Int, Int, Int?, ElementType)] {
      let codec = try IntegerGroupCodec(
        bits: bits, groupSize: groupSize, isSymmetric: isSymmetric, scaleType: scaleType)
      let encoded = try matrix(codec, rows: rows, columns: columns, seed: bits)
      let norm = try Tensor([1, 2] as [Float], shape: [2])
      let weights: OrderedDictionary<String, Weight> = [
        "m.proj.weight": .encoded(encoded), "m.norm.weight": .dense(norm),
      ]
      let tensors = try Self.tensors(weights)
      #expect(tensors["m.proj.weight_packed"]?.shape.dimensions == [rows, (columns * bits + 31) / 32])
      #expect((tensors["m.proj.weight_zero_point"] == nil) == isSymmetric)
      let written = try CompressedTensorsLayout.quantizationConfiguration(for: weights, ignored: ["x"])
      let back = try read(tensors, written)
      guard case .encoded(let result) = back["m.proj.weight"] else {
        Issue.record("not quantized")
        continue
      }
      #expect(result.decoded().values == encoded.decoded().values)
      for (name, plane) in encoded.planes { #expect(bytes(result.planes[name]) == bytes(plane), "\(name)") }
      #expect(Array(back.keys) == ["m.proj.weight", "m.norm.weight"])
    }
  }

  @Test("reads the older packing of 3, 5, 6 and 7 bits", arguments: [3, 5, 6, 7])
  func spread(bits: Int) throws {
    let (rows, columns) = (3, 70)
    var generator = SeededGenerator(seed: UInt64(bits))
    let codes = (0..<rows * columns).map { _ in UInt32.random(in: 0..<1 << UInt32(bits), using: &generator) }
    let perWord = 32 / bits
    let wordCount = (columns + perWord - 1) / perWord
    var words = [Int32](repeating: 0, count: rows * wordCount)
    for (index, code) in codes.enumerated() {
      let (row, column) = (index / columns, index % columns)
      words[row * wordCount + column / perWord] |= Int32(
        bitPattern: code << UInt32(bits * (column % perWord)))
    }
    var tensors = try part(
      words, [rows, wordCount], scale: [Float](repeating: 0.5, count: rows), columns: columns)
    let middle = Float(1 << (bits - 1))
    let expected = codes.map { 0.5 * (Float($0) - middle) }
    var weights = try read(tensors, configuration(bits, nil))
    #expect(try weights["p.weight"]?.decoded().values == expected)
    var zeroWords = [Int32](repeating: 0, count: (rows + perWord - 1) / perWord)
    for row in 0..<rows { zeroWords[row / perWord] |= Int32((row + 1) << (bits * (row % perWord))) }
    tensors["p.weight_zero_point"] = try Tensor(zeroWords, shape: Shape([zeroWords.count, 1]))
    weights = try read(tensors, configuration(bits, nil, symmetric: false))
    let shifted = codes.enumerated().map { index, code in 0.5 * (Float(code) - Float(index / columns + 1)) }
    #expect(try weights["p.weight"]?.decoded().values == shifted)
  }

  private func part(
    _ words: [Int32], _ shape: [Int], scale: [Float], columns: Int
  ) throws -> OrderedDictionary<String, Tensor> {
    let rows = shape[0]
    let sizes = [rows, columns].flatMap { size in (0..<8).map { UInt8(truncatingIfNeeded: size >> ($0 * 8)) }
    }
    return [
      "p.weight_packed": try Tensor(words, shape: Shape(shape)),
      "p.weight_scale": try Tensor(scale, shape: Shape(scale.count == 1 ? [1] : [rows, scale.count / rows])),
      "p.weight_shape": try Tensor(bytes: sizes, elementType: .i64, shape: [2]),
    ]
  }

  @Test("reads whole-byte codes") func integers() throws {
    let tensors: OrderedDictionary<String, Tensor> = [
      "p.weight": try Tensor(bytes: [0x80, 0xFF, 0, 1, 0x7F, 2], elementType: .i8, shape: [2, 3]),
      "p.weight_scale": try Tensor([0.5, 2] as [Float], shape: [2, 1]),
      "p.input_scale": try Tensor([1] as [Float], shape: [1]),
    ]
    let reading = try CompressedTensorsLayout.reading(
      tensors: tensors, configuration: configuration(8, nil))
    #expect(try reading.weights["p.weight"]?.decoded().values == [-64, -0.5, 0, 2, 254, 4])
    #expect(reading.companions.count == 1)
    #expect(reading.weights.count == 1)
  }

  @Test("refuses parts that do not fit", arguments: 0..<11) func misfits(index: Int) throws {
    var tensors = try part([Int32](repeating: 0, count: 8), [2, 4], scale: [1, 1], columns: 32)
    var configuration = configuration(4, nil)
    _ = try read(tensors, configuration)
    switch index {
    case 0: tensors["p.weight_scale"] = nil
    case 1: tensors["p.weight_shape"] = nil
    case 2: tensors["p.weight_shape"] = try Tensor([2, 33] as [Int32], shape: [2])
    case 3: tensors["p.weight_shape"] = try Tensor([2, .max] as [Int32], shape: [2])
    case 4: tensors["p.weight_shape"] = try Tensor([3, 32] as [Int32], shape: [2])
    case 5: tensors["p.weight_scale"] = try Tensor([1, 1] as [Float], shape: [2])
    case 6: tensors["p.weight_scale"] = try Tensor([1, 1, 1] as [Float], shape: [3, 1])
    case 7: tensors["p.weight_zero_point"] = try Tensor([0] as [Int32], shape: [1, 1])
    case 8: tensors["p.weight_packed"] = nil
    case 9: configuration = self.configuration(8, nil)
    default: tensors["p.weight_g_idx"] = try Tensor([Int32](repeating: 1, count: 32), shape: [32])
    }
    #expect(throws: CompressedTensorsError.self) {
      try read(tensors, configuration)
    }
  }

  @Test("refuses configurations that it cannot read") func configurations() throws {
    let texts = [
      "{}", #"{"quant_method":"gptq"}"#, #"{"quant_method":"compressed-tensors"}"#,
      #"{"quant_method":"compressed-tensors","config_groups":{"g":{}}}"#,
      #"{"quant_method":"compressed-tensors","config_groups":{"g":{"targets":["Linear"],"weights":{"num_bits":9}}}}"#,
      #"{"quant_method":"compressed-tensors","config_groups":{"g":{"targets":["Linear"],"weights":{"num_bits":4,"strategy":"block"}}}}"#,
      #"{"quant_method":"compressed-tensors","config_groups":{"g":{"targets":["Linear"],"weights":{"num_bits":4,"strategy":"group","group_size":0}}}}"#,
      #"{"quant_method":"compressed-tensors","ignore":[1],"config_groups":{"g":{"targets":["Linear"]}}}"#,
    ]
    for text in texts {
      let value = try JSONValue.parse(Array(text.utf8))
      #expect(throws: CompressedTensorsError.self, "\(text)") {
        try CompressedTensorsLayout.reading(tensors: [:], configuration: value)
      }
    }
  }

  @Test("says by name what it cannot hold") func unrepresentable() throws {
    let codec = try IntegerGroupCodec(bits: 4, groupSize: 48)
    let tail = try matrix(codec, rows: 2, columns: 64, seed: 1)
    #expect(throws: CompressedTensorsError.self) {
      try Self.tensors(["a.weight": .encoded(tail)])
    }
    let good = try matrix(IntegerGroupCodec(bits: 4, groupSize: 32), rows: 2, columns: 64, seed: 1)
    #expect(throws: CompressedTensorsError.self) {
      try Self.tensors(["a.bias": .encoded(good)])
    }
  }

  @Test("names modules when codecs differ") func mixed() throws {
    let four = try matrix(IntegerGroupCodec(bits: 4, groupSize: 32), rows: 2, columns: 64, seed: 1)
    let eight = try matrix(IntegerGroupCodec(bits: 8, groupSize: nil), rows: 2, columns: 64, seed: 2)
    let weights: OrderedDictionary<String, Weight> = [
      "e.weight": .encoded(eight), "a.weight": .encoded(four), "b.weight": .encoded(four),
    ]
    let value = try CompressedTensorsLayout.quantizationConfiguration(
      for: weights, ignored: ["lm_head", "a", "z"])
    #expect(value["ignore"] == ["lm_head", "z"])
    #expect(value["config_groups"]?["group_0"]?["targets"] == ["a", "b"])
    #expect(value["config_groups"]?["group_1"]?["targets"] == ["e"])
    #expect(value["config_groups"]?["group_1"]?["weights"]?["strategy"] == "channel")
    let tensors = try Self.tensors(weights)
    let back = try read(tensors, value)
    #expect(back["e.weight"]?.encodingName == "int8-gall-sym")
    #expect(back["a.weight"]?.encodingName == "int4-g32-sym")
  }

  /// Values of a weight, times the gain of the norm before it: SmoothQuant, which made the 8-bit checkpoint, moves factors
  /// between the two, and their product is what the model computes with. Norms themselves give nothing.
  private func effective(_ name: String, of weights: OrderedDictionary<String, Weight>) throws -> [Float] {
    let isNorm = name.hasSuffix("layernorm.weight")
    let matrix = try #require(weights[name]).decoded()
    guard !isNorm, let layer = name.firstRange(of: /model\.layers\.[0-9]+\./) else {
      return isNorm ? [] : matrix.values
    }
    let afterInput = ["q_proj", "k_proj", "v_proj"].contains { name.contains($0) }
    let afterAttention = ["gate_proj", "up_proj"].contains { name.contains($0) }
    guard afterInput || afterAttention else { return matrix.values }
    let norm =
      String(name[layer]) + (afterInput ? "input_layernorm.weight" : "post_attention_layernorm.weight")
    let gain = try #require(weights[norm]).decoded().values
    return matrix.values.enumerated().map { $1 * gain[$0 % gain.count] }
  }

  @Test(
    "reads checkpoints of another tool",
    .enabled(if: SharedData.isAvailable, "the reference data is not here"),
    arguments: ["w4a16", "w8a8", "fp8-dynamic"])
  func real(name: String) throws {
    let folder = SharedData.path("fixtures/llmcompressor-\(name)")
    let checkpoint = try SafetensorsCheckpoint(path: folder)
    let configuration = try JSONValue.parse(contentsOf: folder + "/config.json")["quantization_config"] ?? nil
    let weights = try read(checkpoint.tensors, configuration)
    let original = try SafetensorsCheckpoint(path: SharedData.path("fixtures/llama-tiny"))
    #expect(Set(weights.keys) == Set(original.tensors.keys))
    var quantized = 0
    for (name, weight) in weights {
      let source = try effective(name, of: original.tensors.mapValues { .dense($0) })
      let values = try effective(name, of: weights)
      let error = zip(values, source).map { abs($0 - $1) }.max() ?? 0
      let largest = source.map(abs).max() ?? 0
      if case .encoded = weight { quantized += 1 }
      #expect(error <= largest * 0.25, "\(name): error \(error), largest weight \(largest)")
    }
    #expect(quantized == 28)
    let style = CompressedTensorsStyle(source: configuration)
    let again = try Self.tensors(weights, style: style)
    #expect(Samples.differences(checkpoint.tensors, again).isEmpty)
    let reading = try CompressedTensorsLayout.reading(
      tensors: checkpoint.tensors, configuration: configuration)
    let written = try CompressedTensorsLayout.quantizationConfiguration(
      for: weights, ignored: ["lm_head"], style: style, activations: reading.activations)
    #expect(written["format"] == configuration["format"] && written["ignore"] == configuration["ignore"])
    let (ours, theirs) = (written["config_groups"]?["group_0"], configuration["config_groups"]?["group_0"])
    for key in ["targets", "format", "input_activations", "output_activations"] {
      #expect(ours?[key] == theirs?[key], "\(key)")
    }
    for key in ["num_bits", "type", "symmetric", "strategy", "group_size", "dynamic", "block_structure"] {
      #expect(ours?["weights"]?[key] == theirs?["weights"]?[key], "\(key)")
    }
  }

  @Test("floats are written and read back") func floats() throws {
    let codecs: [any Codec] = [
      try Float8Codec(.e4m3, granularity: .tensor),
      try Float8Codec(.e4m3, granularity: .channel, scaleType: .bf16),
      try Float8Codec(.e4m3, granularity: .block(32)), NVFP4Codec(), MXFP4Codec(), MXFP8Codec(),
    ]
    var all: OrderedDictionary<String, Weight> = [:]
    for (index, codec) in codecs.enumerated() {
      let matrix = try Samples.matrix(codec, rows: 40, columns: 96, seed: index)
      all["m\(index).weight"] = .encoded(matrix)
      try check(["m.weight": .encoded(matrix)])
    }
    let integers = try Samples.matrix(
      IntegerGroupCodec(bits: 4, groupSize: 32), rows: 40, columns: 96, seed: 9)
    all["i.weight"] = .encoded(integers)
    let value = try check(all)
    #expect(value["format"] == "mixed-precision")
    #expect(value["config_groups"]?.objectValue?.count == 7)
    #expect(value["config_groups"]?["group_3"]?["format"] == "nvfp4-pack-quantized")
  }

  @discardableResult
  private func check(_ weights: OrderedDictionary<String, Weight>) throws -> JSONValue {
    let value = try CompressedTensorsLayout.quantizationConfiguration(for: weights, ignored: [])
    let back = try read(Self.tensors(weights), value)
    #expect(back.count == weights.count)
    for (name, weight) in weights {
      #expect(back[name]?.encodingName == weight.encodingName)
      guard case .encoded(let first) = weight, case .encoded(let second) = back[name] else { continue }
      // The global scale of NVFP4 is inverted twice, and the divisor kept.
      let planes = Samples.differences(first.planes, second.planes)
      let known = ["global_scale: other bytes", "global_divisor is in one only"]
      #expect(
        planes.allSatisfy { weight.encodingName == "nvfp4" && known.contains($0) },
        "\(weight.encodingName): \(planes)")
      let pairs = zip(first.decoded().values, second.decoded().values)
      #expect(pairs.allSatisfy { abs($0 - $1) <= abs($0) * 2e-7 })
    }
    return value
  }

  @Test("a group index is honoured, and not written") func groupIndex() throws {
    var generator = SeededGenerator(seed: 3)
    let plain = try Samples.matrix(IntegerGroupCodec(bits: 4, groupSize: 16), rows: 5, columns: 64, seed: 1)
    var index = (0..<64).map { Int32($0 / 16) }
    index.shuffle(using: &generator)
    var tensors = try Self.tensors(["p.weight": .encoded(plain)])
    tensors["p.weight_g_idx"] = try Tensor(index, shape: [64])
    let weights = try read(tensors, configuration(4, 16))
    guard case .encoded(let matrix) = weights["p.weight"] else {
      Issue.record("not quantized")
      return
    }
    #expect(matrix.codec.canonicalName == "int4-g16-sym-gidx")
    let codec = try IntegerGroupCodec(bits: 4, groupSize: 16)
    let parts = codec.unpacked(plain, rows: 0..<5)
    var values: [Float] = []
    for place in 0..<5 * 64 {
      let scale: Float = parts.scales[place / 64 * 4 + Int(index[place % 64])]
      values.append(scale * (Float(parts.codes[place]) - 8))
    }
    #expect(matrix.decoded().values == values)
    #expect(throws: CompressedTensorsError.self) { try Self.tensors(weights) }
    tensors["p.weight_g_idx"] = try Tensor([Int32](repeating: -1, count: 64), shape: [64])
    #expect(try read(tensors, configuration(4, 16))["p.weight"]?.encodingName == "int4-g16-sym")
  }

  @Test("scales of the cache and of inputs stay, and are declared") func companions() throws {
    let matrix = try Samples.matrix(Float8Codec(.e4m3, granularity: .tensor), rows: 8, columns: 16, seed: 1)
    let weights: OrderedDictionary<String, Weight> = ["a.q_proj.weight": .encoded(matrix)]
    let one = try Tensor([1] as [Float], shape: [1])
    var tensors = try Self.tensors(weights)
    for name in ["a.k_scale", "a.v_scale", "a.q_proj.input_scale"] { tensors[name] = one }
    let names = ["a.k_scale", "a.v_scale", "a.q_proj.input_scale"]
    let inputs: OrderedDictionary = ["a.q_proj.weight": InputQuantization(.fp8Tensor, scale: 1)]
    let value = try CompressedTensorsLayout.quantizationConfiguration(
      for: weights, ignored: [], activations: inputs, companions: names)
    #expect(value["kv_cache_scheme"]?["num_bits"] == 8 && value["kv_cache_scheme"]?["type"] == "float")
    let activations = value["config_groups"]?["group_0"]?["input_activations"]
    #expect(activations?["dynamic"] == false && activations?["strategy"] == "tensor")
    let reading = try CompressedTensorsLayout.reading(tensors: tensors, configuration: value)
    #expect(Array(reading.companions.keys) == names)
    #expect(reading.warnings.isEmpty && reading.activations == inputs)
    let again = CompressedTensorsStyle(source: value)
    let second = try CompressedTensorsLayout.quantizationConfiguration(
      for: weights, ignored: [], style: again, activations: reading.activations)
    #expect(second["kv_cache_scheme"] == value["kv_cache_scheme"])
    #expect(second["config_groups"] == value["config_groups"])
  }

  @Test("8-bit integers in whole bytes") func wholeBytes() throws {
    for isSymmetric in [true, false] {
      let codec = try IntegerGroupCodec(bits: 8, groupSize: nil, isSymmetric: isSymmetric, scaleType: .bf16)
      let weights: OrderedDictionary<String, Weight> = [
        "a.weight": .encoded(try Samples.matrix(codec, rows: 8, columns: 16, seed: 1))
      ]
      let style = CompressedTensorsStyle(wholeBytes: true)
      let value = try CompressedTensorsLayout.quantizationConfiguration(
        for: weights, ignored: [], style: style)
      #expect(value["format"] == "int-quantized")
      #expect(value["config_groups"]?["group_0"]?["input_activations"] == JSONValue.null)
      let tensors = try Self.tensors(weights, style: style)
      #expect(tensors["a.weight"]?.elementType == .i8)
      #expect(try read(tensors, value)["a.weight"]?.decoded() == weights["a.weight"]?.decoded())
    }
  }

  @Test("weights that are stored in full stay so") func dense() throws {
    let weight = try Tensor([1, 2, 3, 4] as [Float], shape: [2, 2])
    let tensors: OrderedDictionary<String, Tensor> = [
      "a.weight": weight, "a.weight_scale": try Tensor([1, 1] as [Float], shape: [2, 1]),
    ]
    var value = configuration(8, nil)
    if case .object(var members) = value {
      members["format"] = "dense"
      value = .object(members)
    }
    let reading = try CompressedTensorsLayout.reading(tensors: tensors, configuration: value)
    #expect(reading.weights["a.weight"]?.encodingName == "f32")
    #expect(Array(reading.companions.keys) == ["a.weight_scale"])
    #expect(reading.warnings.count == 1)
  }
}
