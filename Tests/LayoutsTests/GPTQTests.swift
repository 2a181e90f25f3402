import Codecs
import GPTQFormat
import OrderedCollections
import SafeIO
import TensorCore
import TestSupport
import Testing

@Suite("GPTQ") struct GPTQTests {
  private static let planes = [2: [2], 3: [2, 1], 4: [4], 5: [4, 1], 6: [4, 2], 7: [4, 2, 1], 8: [8]]

  /// Number `index` of a list that lies in words, straight from the definition.
  private func field(_ index: Int, bits: Int, isPlanar: Bool, word: (Int) -> UInt32) -> Int {
    guard isPlanar else {
      return (0..<bits).reduce(0) { sum, bit in
        let place = index * bits + bit
        return sum | Int(word(place / 32) >> UInt32(place % 32) & 1) << bit
      }
    }
    var first = index / 32 * bits
    var shift = 0
    var result = 0
    for width in Self.planes[bits] ?? [] {
      let perWord = 32 / width
      let inRun = index % 32
      let value = word(first + inRun / perWord) >> UInt32(width * (inRun % perWord))
      result |= Int(value & (1 << UInt32(width) - 1)) << shift
      first += width
      shift += width
    }
    return result
  }

  private func configuration(
    bits: Int, group: Int, isSymmetric: Bool = false, format: String = "gptq"
  ) throws -> JSONValue {
    try Samples.json(
      #"{"quant_method": "gptq", "bits": \#(bits), "group_size": \#(group), "sym": \#(isSymmetric), "checkpoint_format": "\#(format)"}"#
    )
  }

  private func module(
    bits: Int, rows: Int, columns: Int, group: Int, isPermuted: Bool, seed: Int
  ) throws -> OrderedDictionary<String, Tensor> {
    var generator = SeededGenerator(seed: UInt64(seed))
    let groups = (columns + group - 1) / group
    var index = (0..<columns).map { Int32($0 / group) }
    if isPermuted { index.shuffle(using: &generator) }
    return [
      "m.qweight": try Samples.bits(.i32, [columns * bits / 32, rows], &generator),
      "m.qzeros": try Samples.bits(.i32, [groups, rows * bits / 32], &generator),
      "m.scales": try Samples.scales([groups, rows], &generator),
      "m.g_idx": try Tensor(index, shape: Shape([columns])),
    ]
  }

  @Test(
    "values are those of the definition",
    arguments: [
      (2, false), (3, false), (4, false), (8, false), (2, true), (3, true), (4, true), (5, true), (6, true),
      (7, true), (8, true),
    ])
  func definition(bits: Int, isPlanar: Bool) throws {
    for (index, (rows, columns, group, isPermuted)) in [
      (32, 64, 32, false), (64, 96, 32, true), (32, 96, 96, false), (32, 160, 64, false), (96, 64, 16, true),
    ].enumerated() {
      for isSecond in isPlanar ? [true] : [true, false] {
        let tensors = try module(
          bits: bits, rows: rows, columns: columns, group: group, isPermuted: isPermuted,
          seed: bits * 10 + index)
        let format = isPlanar ? "gptq_p" : isSecond ? "gptq_v2" : "gptq"
        let size = group == columns ? -1 : group
        let reading = try GPTQLayout.reading(
          tensors: tensors, configuration: configuration(bits: bits, group: size, format: format))
        let found = try #require(reading.weights["m.weight"]).decoded()
        #expect(reading.weights.count == 1 && reading.warnings.isEmpty && reading.companions.isEmpty)
        #expect(found.rows == rows && found.columns == columns)
        let codes = Samples.words(tensors["m.qweight"])
        let zeros = Samples.words(tensors["m.qzeros"])
        let scales = try #require(tensors["m.scales"]).floats()
        let groupIndex = try #require(tensors["m.g_idx"]).integers().map { Int($0) }
        var expected: [Float] = []
        for row in 0..<rows {
          for column in 0..<columns {
            let group = groupIndex[column]
            let code = field(column, bits: bits, isPlanar: isPlanar) { codes[$0 * rows + row] }
            let stored = field(row, bits: bits, isPlanar: isPlanar) { zeros[group * rows * bits / 32 + $0] }
            let zero = isSecond ? stored : (stored + 1) % (1 << bits)
            expected.append(scales[group * rows + row] * Float(code - zero))
          }
        }
        #expect(found.values == expected, "\(bits) bits, case \(index), \(format)")
        guard !isPlanar, columns % group == 0 else { continue }
        let again = try Samples.tensors(reading) { name, matrix throws(GPTQError) in
          try GPTQLayout.tensors(of: name, matrix, version: isSecond ? .v2 : .v1)
        }
        #expect(Samples.differences(tensors, again).isEmpty)
      }
    }
  }

  @Test("gives back what it got", arguments: [2, 3, 4, 8], [true, false])
  func roundTrip(bits: Int, isSymmetric: Bool) throws {
    for (group, type) in [(32, .f16), (nil, .bf16), (64, .f16)] as [(Int?, ElementType)] {
      let codec = try IntegerGroupCodec(
        bits: bits, groupSize: group, isSymmetric: isSymmetric, scaleType: type)
      let matrix = try Samples.matrix(codec, rows: 32, columns: 128, seed: bits)
      let weights: OrderedDictionary<String, Weight> = ["a.b.weight": .encoded(matrix)]
      for version in [GPTQVersion.v1, .v2] {
        let tensors = try GPTQLayout.tensors(of: "a.b.weight", matrix, version: version)
        #expect(tensors["a.b.qweight"]?.shape.dimensions == [128 * bits / 32, 32])
        let configuration = try GPTQLayout.quantizationConfiguration(
          for: weights, ignored: ["lm_head"], version: version)
        #expect(configuration["dynamic"] == nil)
        #expect(configuration["group_size"]?.intValue == group ?? -1)
        let reading = try GPTQLayout.reading(tensors: tensors, configuration: configuration)
        guard case .encoded(let back) = reading.weights["a.b.weight"] else {
          Issue.record("not quantized")
          continue
        }
        #expect(back.codec.canonicalName == codec.canonicalName)
        #expect(Samples.differences(matrix.planes, back.planes).isEmpty)
        #expect(reading.warnings.isEmpty)
      }
    }
  }

  @Test("words of symmetric modules are trusted rather than the label") func mislabelled() throws {
    let codec = try IntegerGroupCodec(bits: 4, groupSize: 32)
    let matrix = try Samples.matrix(codec, rows: 32, columns: 64, seed: 3)
    for version in [GPTQVersion.v1, .v2] {
      let tensors = try GPTQLayout.tensors(of: "m.weight", matrix, version: version)
      let word: UInt32 = version == .v1 ? 0x7777_7777 : 0x8888_8888
      #expect(Samples.words(tensors["m.qzeros"]).allSatisfy { $0 == word })
      for label in ["gptq", "gptq_v2"] {
        for isSymmetric in [true, false] {
          let reading = try GPTQLayout.reading(
            tensors: tensors,
            configuration: configuration(bits: 4, group: 32, isSymmetric: isSymmetric, format: label))
          #expect(try reading.weights["m.weight"]?.decoded() == matrix.decoded())
          let isWrong = (label == "gptq") != (version == .v1)
          #expect(reading.warnings.count == (isWrong ? 1 : 0), "\(reading.warnings)")
          #expect(
            reading.weights["m.weight"]?.encodingName == (isSymmetric ? "int4-g32-sym" : "int4-g32-asym"))
        }
      }
    }
  }

  @Test("zero points make the second version, but for sources of the first") func wrap() throws {
    let codec = try IntegerGroupCodec(bits: 4, groupSize: 32, isSymmetric: false)
    let values = (0..<32 * 32).map { Float($0 % 7) }
    let positive = try codec.encode(
      FloatMatrix(rows: 32, columns: 32, values: values), importance: nil, search: .extremes)
    #expect(GPTQLayout.version(for: ["m.weight": .encoded(positive)]) == .v2)
    let mixed = try Samples.matrix(codec, rows: 32, columns: 32, seed: 1)
    #expect(GPTQLayout.version(for: ["m.weight": .encoded(mixed)]) == .v2)
    let symmetric = try Samples.matrix(
      IntegerGroupCodec(bits: 4, groupSize: 32, isSymmetric: true), rows: 32, columns: 32, seed: 1)
    #expect(GPTQLayout.version(for: ["m.weight": .encoded(symmetric)]) == .v1)
    for (form, version) in [("gptq", GPTQVersion.v1), ("gptq_v2", .v2)] {
      let source: JSONValue = [
        "quant_method": "gptq", "bits": 4, "group_size": 32, "checkpoint_format": .string(form),
      ]
      #expect(GPTQLayout.version(for: ["m.weight": .encoded(mixed)], source: source) == version)
    }
    let other: JSONValue = ["quant_method": "awq", "bits": 4, "group_size": 32]
    #expect(GPTQLayout.version(for: ["m.weight": .encoded(mixed)], source: other) == .v2)
    let tensors = try GPTQLayout.tensors(of: "m.weight", positive, version: .v1)
    #expect(Samples.words(tensors["m.qzeros"]).allSatisfy { $0 == 0xFFFF_FFFF })
    let reading = try GPTQLayout.reading(
      tensors: tensors, configuration: configuration(bits: 4, group: 32))
    #expect(try reading.weights["m.weight"]?.decoded() == positive.decoded())
  }

  @Test("modules that differ are named") func dynamic() throws {
    let four = try Samples.matrix(IntegerGroupCodec(bits: 4, groupSize: 32), rows: 32, columns: 64, seed: 1)
    let eight = try Samples.matrix(
      IntegerGroupCodec(bits: 8, groupSize: nil, isSymmetric: false), rows: 32, columns: 64, seed: 2)
    let weights: OrderedDictionary<String, Weight> = [
      "l.0.up.weight": .encoded(eight), "l.0.down.weight": .encoded(four), "l.1.down.weight": .encoded(four),
      "lm_head.weight": .encoded(four),
    ]
    let configuration = try GPTQLayout.quantizationConfiguration(
      for: weights, ignored: ["l.1.up"], version: .v1)
    #expect(configuration["bits"] == 4 && configuration["lm_head"] == true)
    #expect(configuration["dynamic"]?.objectValue?.keys == [#"-:^l\.1\.up$"#, #"+:^l\.0\.up$"#])
    #expect(configuration["dynamic"]?[#"+:^l\.0\.up$"#]?["group_size"] == -1)
    let norm = try Tensor([1, 2] as [Float], shape: [2])
    let bias = try Tensor([Float](repeating: 0.5, count: 32), shape: [32])
    var reading = LayoutReading(weights: weights)
    reading.weights["norm.weight"] = .dense(norm)
    reading.weights["l.0.up.bias"] = .dense(bias)
    let tensors = try Samples.tensors(reading) { name, matrix throws(GPTQError) in
      try GPTQLayout.tensors(of: name, matrix)
    }
    let back = try GPTQLayout.reading(tensors: tensors, configuration: configuration)
    #expect(back.weights.keys == reading.weights.keys)
    for (name, weight) in weights {
      #expect(back.weights[name]?.encodingName == weight.encodingName)
      #expect(try back.weights[name]?.decoded() == weight.decoded())
    }
    #expect(back.weights["l.0.up.bias"]?.encodingName == "f32")
  }

  @Test("says what it cannot hold")
  func refusals() throws {
    func reason(
      _ bits: Int, _ group: Int?, _ type: ElementType = .f16, rows: Int = 32, columns: Int = 64
    ) throws -> String? {
      GPTQLayout.refusal(
        try IntegerGroupCodec(bits: bits, groupSize: group, scaleType: type), rows: rows, columns: columns)
    }
    #expect(try reason(4, 32) == nil)
    #expect(try reason(5, 32) != nil)
    #expect(try reason(4, 32, .f32) != nil)
    #expect(try reason(4, 32, columns: 48) != nil)
    #expect(try reason(4, 8, rows: 12) != nil)
    #expect(try reason(4, 48) != nil)
    let matrix = try Samples.matrix(IntegerGroupCodec(bits: 4, groupSize: 48), rows: 8, columns: 64, seed: 1)
    #expect(throws: GPTQError.self) { try GPTQLayout.tensors(of: "m.weight", matrix) }
    let good = try Samples.matrix(IntegerGroupCodec(bits: 4, groupSize: 32), rows: 8, columns: 64, seed: 1)
    #expect(throws: GPTQError.self) { try GPTQLayout.tensors(of: "m.bias", good) }
  }

  @Test("refuses parts that do not fit", arguments: 0..<16) func misfits(index: Int) throws {
    var tensors = try module(bits: 4, rows: 32, columns: 64, group: 32, isPermuted: true, seed: 1)
    var configuration = try configuration(bits: 4, group: 32)
    _ = try GPTQLayout.reading(tensors: tensors, configuration: configuration)
    var generator = SeededGenerator(seed: 2)
    switch index {
    case 0: tensors["m.qweight"] = nil
    case 1: tensors["m.qzeros"] = nil
    case 2: tensors["m.scales"] = nil
    case 3: tensors["m.qweight"] = try Samples.bits(.i32, [8, 64], &generator)
    case 4: tensors["m.qweight"] = try Samples.bits(.i32, [9, 32], &generator)
    case 5: tensors["m.qweight"] = try Samples.bits(.f32, [8, 32], &generator)
    case 6: tensors["m.qweight"] = try Samples.bits(.i32, [0, 32], &generator)
    case 7: tensors["m.qzeros"] = try Samples.bits(.i32, [2, 3], &generator)
    case 8: tensors["m.qzeros"] = try Samples.bits(.i32, [3, 4], &generator)
    case 9: tensors["m.qzeros"] = try Samples.bits(.i32, [2, 8], &generator)
    case 10: tensors["m.scales"] = try Samples.scales([2, 16], &generator)
    case 11: tensors["m.scales"] = try Samples.bits(.i32, [2, 32], &generator)
    case 12: tensors["m.g_idx"] = try Tensor([Int32](repeating: 2, count: 64), shape: [64])
    case 13: tensors["m.g_idx"] = try Tensor([Int32](repeating: -1, count: 64), shape: [64])
    case 14: tensors["m.g_idx"] = try Tensor([Int32](repeating: 0, count: 63), shape: [63])
    default: configuration = try self.configuration(bits: 4, group: 16)
    }
    #expect(throws: GPTQError.self) {
      try GPTQLayout.reading(tensors: tensors, configuration: configuration)
    }
  }

  @Test("refuses configurations that it cannot read") func configurations() throws {
    let texts = [
      "1", "{}", #"{"bits": 9}"#, #"{"bits": "4"}"#, #"{"bits": 4, "group_size": 0}"#,
      #"{"bits": 4, "group_size": -2}"#, #"{"bits": 4, "sym": 1}"#, #"{"bits": 4, "dynamic": []}"#,
      #"{"bits": 4, "dynamic": {"+:a": {"bits": 1}}}"#, #"{"bits": 4, "quant_method": "awq"}"#,
      #"{"bits": 4, "checkpoint_format": "marlin"}"#, #"{"bits": 4, "checkpoint_format": "bitblas"}"#,
      #"{"bits": 4, "checkpoint_format": 2}"#, #"{"bits": 4, "is_marlin_format": true}"#,
      #"{"bits": 4, "pack_dtype": "int8"}"#,
    ]
    for text in texts {
      #expect(throws: GPTQError.self, "\(text)") {
        try GPTQLayout.reading(tensors: [:], configuration: Samples.json(text))
      }
    }
  }

  @Test(
    "a checkpoint of GPTQModel is read and written back byte for byte",
    .enabled(if: SharedData.isAvailable, "the reference data is not here"))
  func fixture() throws {
    let (tensors, configuration) = try Samples.fixture("gptqmodel-gptq-w4g128")
    let reading = try GPTQLayout.reading(tensors: tensors, configuration: configuration)
    #expect(reading.warnings.isEmpty)
    #expect(reading.weights.values.count { $0.encodingName == "int4-g128-sym" } == 28)
    let again = try Samples.tensors(reading) { name, matrix throws(GPTQError) in
      try GPTQLayout.tensors(of: name, matrix)
    }
    #expect(Samples.differences(tensors, again).isEmpty)
    let written = try GPTQLayout.quantizationConfiguration(
      for: reading.weights, ignored: ["lm_head"], version: .v1)
    for key in ["bits", "group_size", "desc_act", "sym", "lm_head", "quant_method", "checkpoint_format"] {
      #expect(written[key] == configuration[key], "\(key)")
    }
  }
}
