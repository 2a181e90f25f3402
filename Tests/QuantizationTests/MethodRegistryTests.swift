import Codecs
import Kernels
import Quantization
import TensorCore
import TestSupport
import Testing

@Suite struct MethodRegistryTests {
  let pool = ThreadPool(threadCount: 2, isPinned: false)

  @Test func everyEntryQuantizesAndDescribesItsDefaults() throws {
    #expect(Set(MethodRegistry.entries.map(\.name)).count == MethodRegistry.entries.count)
    let problem = try RandomProblem.correlated(rows: 70, columns: 50, seed: 3)
    let codec = try IntegerGroupCodec(bits: 4, groupSize: 32)
    for entry in MethodRegistry.entries {
      #expect(!entry.summary.isEmpty && !entry.source.isEmpty)
      let method = try MethodRegistry.method(named: entry.name)
      let spelled = try MethodRegistry.method(
        named: entry.name,
        options: Dictionary(uniqueKeysWithValues: entry.options.map { ($0.name, $0.defaultValue) }))
      #expect("\(method)" == "\(spelled)", "defaults of \(entry.name)")
      let solution = try method.solve(problem, codec: codec, pool: pool)
      #expect(solution.report.method == entry.name)
      #expect(solution.report.layer == "layer")
      #expect(solution.report.codec == codec.canonicalName)
      #expect(solution.report.fallback == nil)
      #expect(solution.report.relativeError < 0.05 && solution.report.relativeError > 0)
      #expect(solution.report.relativeError <= solution.report.roundingRelativeError)
      for option in entry.options {
        #expect(!option.summary.isEmpty)
        #expect(throws: QuantizationError.self) {
          try MethodRegistry.method(named: entry.name, options: [option.name: "no such value"])
        }
      }
    }
  }

  @Test func unknownNamesAreRefusedWithTheKnownOnes() throws {
    let method = try #require(throws: QuantizationError.self) { try MethodRegistry.method(named: "gtpq") }
    #expect(method.diagnostic.code == "quantization.unknown-method")
    #expect(method.diagnostic.hint == "methods: rtn, gptq")
    #expect(method.diagnostic.status == .usage)
    let option = try #require(throws: QuantizationError.self) {
      try MethodRegistry.method(named: "gptq", options: ["dampnig": "1"])
    }
    #expect(option.diagnostic.subject == "dampnig")
    #expect(option.description.contains("damping, block-size, act-order, static-groups, scale-search"))
  }

  @Test(
    arguments: [
      ("damping", "-0.1"), ("damping", "nan"), ("damping", "11"), ("damping", ""), ("block-size", "0"),
      ("block-size", "65537"), ("block-size", "1.5"), ("act-order", "maybe"), ("static-groups", "TRUE"),
      ("scale-search", "none"),
    ])
  func valuesOutOfRangeAreRefused(option: String, value: String) throws {
    let error = try #require(throws: QuantizationError.self) {
      try MethodRegistry.method(named: "gptq", options: [option: value])
    }
    #expect(error.diagnostic.code == "quantization.option")
    #expect(error.diagnostic.subject == option)
  }

  @Test func optionsReachTheMethod() throws {
    let method = try MethodRegistry.method(
      named: "gptq",
      options: [
        "damping": "0.5", "block-size": "64", "act-order": "no", "static-groups": "yes",
        "scale-search": "extremes",
      ])
    let gptq = try #require(method as? GPTQ)
    #expect(gptq.damping == 0.5 && gptq.blockSize == 64 && gptq.sequence == .natural && gptq.staticGroups)
    #expect(gptq.scaleSearch == .extremes)
    #expect(gptq.need == .drift)
    let rounding = try MethodRegistry.method(named: "rtn", options: ["scale-search": "least-squares"])
    #expect((rounding as? RoundToNearest)?.scaleSearch == .standard)
    #expect(rounding.need == .moments)
    #expect(RoundToNearest().need == .none)
  }

  @Test(arguments: [1, 2, 3])
  func roundingIsTheCodecsOwn(threads: Int) throws {
    let weights = try RandomProblem.weights(rows: 150, columns: 70, seed: 9)
    var generator = SeededGenerator(seed: 10)
    let importance = generator.normals(70).map { $0 * $0 }
    for search in [ScaleSearch.extremes, .standard] {
      for codec in [
        try IntegerGroupCodec(bits: 3, groupSize: 32),
        try IntegerGroupCodec(bits: 8, groupSize: nil, isSymmetric: false),
      ] {
        let problem = LayerProblem(name: "l", weights: weights, importance: importance)
        let solution = try RoundToNearest(scaleSearch: search).solve(
          problem, codec: codec, pool: ThreadPool(threadCount: threads, isPinned: false))
        let expected = try codec.encode(weights, importance: importance, search: search)
        #expect(solution.matrix.planeBytes == expected.planeBytes)
        let error = zip(weights.values, expected.decoded().values).enumerated().reduce(0.0) { sum, item in
          let difference = Double(item.element.0 - item.element.1)
          return sum + difference * difference * Double(importance[item.offset % 70])
        }
        let energy = weights.values.enumerated().reduce(0.0) {
          $0 + Double($1.element) * Double($1.element) * Double(importance[$1.offset % 70])
        }
        #expect(abs(solution.report.relativeError / (error / energy) - 1) < 1e-6)
      }
    }
  }
}
