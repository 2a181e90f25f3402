import AWQFormat
import Codecs
import OrderedCollections
import SafeIO
import TensorCore
import TestSupport
import Testing

@Suite("AWQ") struct AWQTests {
  private let order = [0, 2, 4, 6, 1, 3, 5, 7]

  private func configuration(group: Int = 32, more: String = "") throws -> JSONValue {
    try Samples.json(#"{"quant_method": "awq", "bits": 4, "group_size": \#(group)\#(more)}"#)
  }

  private func module(rows: Int, columns: Int, groups: Int, seed: Int) throws -> OrderedDictionary<
    String, Tensor
  > {
    var generator = SeededGenerator(seed: UInt64(seed))
    return [
      "m.qweight": try Samples.bits(.i32, [columns, rows / 8], &generator),
      "m.qzeros": try Samples.bits(.i32, [groups, rows / 8], &generator),
      "m.scales": try Samples.scales([groups, rows], &generator),
    ]
  }

  /// Output `row` of line `line`: nibble `i` of word `c` is output `8c + order[i]`.
  private func field(_ words: [UInt32], line: Int, row: Int, rows: Int) -> Int {
    let word = words[line * rows / 8 + row / 8]
    let nibble = order.firstIndex(of: row % 8) ?? 0
    return Int(word >> UInt32(4 * nibble) & 15)
  }

  @Test("values are those of the definition") func definition() throws {
    for (index, (rows, columns, group)) in [
      (8, 32, 32), (264, 64, 32), (24, 65, 65), (128, 96, 16), (8, 35, 32),
    ].enumerated() {
      let groups = (columns + group - 1) / group
      let tensors = try module(rows: rows, columns: columns, groups: groups, seed: index)
      let size = group == columns ? -1 : group
      let reading = try AWQLayout.reading(tensors: tensors, configuration: configuration(group: size))
      let found = try #require(reading.weights["m.weight"]).decoded()
      let codes = Samples.words(tensors["m.qweight"])
      let zeros = Samples.words(tensors["m.qzeros"])
      let scales = try #require(tensors["m.scales"]).floats()
      var expected: [Float] = []
      for row in 0..<rows {
        for column in 0..<columns {
          let code = field(codes, line: column, row: row, rows: rows)
          let zero = field(zeros, line: column / group, row: row, rows: rows)
          expected.append(scales[column / group * rows + row] * Float(code - zero))
        }
      }
      #expect(found.rows == rows && found.columns == columns)
      #expect(found.values == expected, "case \(index)")
      guard columns % group == 0 else { continue }
      let again = try Samples.tensors(reading) { name, matrix throws(AWQError) in
        try AWQLayout.tensors(of: name, matrix)
      }
      #expect(Samples.differences(tensors, again).isEmpty, "case \(index)")
    }
  }

  @Test("gives back what it got") func roundTrip() throws {
    for (group, isSymmetric) in [(32, false), (nil, false), (64, true)] as [(Int?, Bool)] {
      let codec = try IntegerGroupCodec(bits: 4, groupSize: group, isSymmetric: isSymmetric)
      let matrix = try Samples.matrix(codec, rows: 16, columns: 128, seed: 4)
      let tensors = try AWQLayout.tensors(of: "a.weight", matrix)
      let configuration = try AWQLayout.quantizationConfiguration(
        for: ["a.weight": .encoded(matrix)], ignored: ["lm_head", "b"])
      #expect(configuration["modules_to_not_convert"] == ["b"])
      let reading = try AWQLayout.reading(tensors: tensors, configuration: configuration)
      #expect(try reading.weights["a.weight"]?.decoded() == matrix.decoded())
      #expect(reading.weights["a.weight"]?.encodingName.hasSuffix("asym") == true)
    }
  }

  @Test("older names of the configuration are known") func olderNames() throws {
    let tensors = try module(rows: 8, columns: 64, groups: 2, seed: 1)
    let old = try Samples.json(
      #"{"w_bit": 4, "q_group_size": 32, "zero_point": true, "version": "GEMM"}"#)
    let values = try AWQLayout.reading(tensors: tensors, configuration: old).weights["m.weight"]?.decoded()
    #expect(
      try values
        == AWQLayout.reading(tensors: tensors, configuration: configuration()).weights["m.weight"]?.decoded())
  }

  @Test("zero points that are declared absent") func withoutZeroPoints() throws {
    let codec = try IntegerGroupCodec(bits: 4, groupSize: 32)
    let matrix = try Samples.matrix(codec, rows: 16, columns: 64, seed: 4)
    var tensors = try AWQLayout.tensors(of: "m.weight", matrix)
    let configuration = try configuration(more: #", "zero_point": false"#)
    for _ in 0..<2 {
      let reading = try AWQLayout.reading(tensors: tensors, configuration: configuration)
      #expect(reading.weights["m.weight"]?.encodingName == "int4-g32-sym")
      #expect(try reading.weights["m.weight"]?.decoded() == matrix.decoded())
      tensors["m.qzeros"] = nil
    }
  }

  @Test("says what it cannot hold") func refusals() throws {
    func reason(_ codec: IntegerGroupCodec, rows: Int = 16, columns: Int = 64) -> String? {
      AWQLayout.refusal(codec, rows: rows, columns: columns)
    }
    #expect(try reason(IntegerGroupCodec(bits: 4, groupSize: 32)) == nil)
    #expect(try reason(IntegerGroupCodec(bits: 8, groupSize: 32)) != nil)
    #expect(try reason(IntegerGroupCodec(bits: 4, groupSize: 48)) != nil)
    #expect(try reason(IntegerGroupCodec(bits: 4, groupSize: 32, scaleType: .bf16)) != nil)
    #expect(try reason(IntegerGroupCodec(bits: 4, groupSize: 32, hasGroupIndex: true)) != nil)
    #expect(try reason(IntegerGroupCodec(bits: 4, groupSize: 32), rows: 12) != nil)
    let first = try Samples.matrix(IntegerGroupCodec(bits: 4, groupSize: 32), rows: 8, columns: 64, seed: 1)
    let second = try Samples.matrix(IntegerGroupCodec(bits: 4, groupSize: 64), rows: 8, columns: 64, seed: 1)
    #expect(throws: AWQError.self) {
      try AWQLayout.quantizationConfiguration(
        for: ["a.weight": .encoded(first), "b.weight": .encoded(second)], ignored: [])
    }
    #expect(throws: AWQError.self) { try AWQLayout.tensors(of: "lm_head.weight", first) }
    #expect(throws: AWQError.self) { try AWQLayout.tensors(of: "a.bias", first) }
  }

  @Test("refuses parts that do not fit", arguments: 0..<11) func misfits(index: Int) throws {
    var tensors = try module(rows: 16, columns: 64, groups: 2, seed: 1)
    var generator = SeededGenerator(seed: 1)
    switch index {
    case 0: tensors["m.qweight"] = nil
    case 1: tensors["m.qzeros"] = nil
    case 2: tensors["m.scales"] = nil
    case 3: tensors["m.qweight"] = try Samples.bits(.i32, [65, 2], &generator)
    case 4: tensors["m.qweight"] = try Samples.bits(.i32, [64, 3], &generator)
    case 5: tensors["m.qweight"] = try Samples.bits(.u8, [64, 2], &generator)
    case 6: tensors["m.qweight"] = try Samples.bits(.i32, [0, 2], &generator)
    case 7: tensors["m.qzeros"] = try Samples.bits(.i32, [1, 2], &generator)
    case 8: tensors["m.scales"] = try Samples.scales([2, 8], &generator)
    case 9: tensors["m.scales"] = try Samples.scales([32], &generator)
    default: tensors["m.act.scales"] = try Samples.scales([16], &generator)
    }
    #expect(throws: AWQError.self) {
      try AWQLayout.reading(tensors: tensors, configuration: configuration())
    }
  }

  @Test("refuses configurations that it cannot read") func configurations() throws {
    let texts = [
      "1", "{}", #"{"bits": 8}"#, #"{"bits": 4, "group_size": 0}"#, #"{"bits": 4, "version": "gemv"}"#,
      #"{"bits": 4, "version": "gemv_fast"}"#, #"{"bits": 4, "version": "marlin"}"#,
      #"{"bits": 4, "version": "x"}"#, #"{"bits": 4, "quant_method": "gptq"}"#,
      #"{"bits": 4, "modules_to_not_convert": "x"}"#,
    ]
    for text in texts {
      #expect(throws: AWQError.self, "\(text)") {
        try AWQLayout.reading(tensors: [:], configuration: Samples.json(text))
      }
    }
  }

  @Test(
    "a checkpoint of AutoAWQ is read and written back byte for byte",
    .enabled(if: SharedData.isAvailable, "the reference data is not here"))
  func fixture() throws {
    let (tensors, configuration) = try Samples.fixture("autoawq-w4g128")
    let reading = try AWQLayout.reading(tensors: tensors, configuration: configuration)
    #expect(reading.weights.values.count { $0.encodingName == "int4-g128-asym" } == 28)
    let again = try Samples.tensors(reading) { name, matrix throws(AWQError) in
      try AWQLayout.tensors(of: name, matrix)
    }
    #expect(Samples.differences(tensors, again).isEmpty)
    let written = try AWQLayout.quantizationConfiguration(for: reading.weights, ignored: ["lm_head"])
    #expect(Set(written.objectValue?.keys ?? []) == Set(configuration.objectValue?.keys ?? []))
    for (key, value) in configuration.objectValue ?? [:] { #expect(written[key] == value, "\(key)") }
  }
}
