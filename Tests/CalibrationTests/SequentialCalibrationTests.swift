import Calibration
import Codecs
import GraphIR
import Kernels
import OrderedCollections
import TensorCore
import TestSupport
import Testing

@Suite struct SequentialCalibrationTests {
  /// Inputs of projections cross between stages as bfloat16, which moves what later layers see by this share.
  static let compactTolerance = 0.02
  static let seed: UInt64 = 3

  struct Seen {
    var group: LinearGroup
    var statistics: InputStatistics
  }

  struct Cancelled: Error {}

  private func run(
    _ model: SampleModel, windows: CalibrationWindows, targets: Set<String>? = nil, threads: Int = 1,
    collection: SequentialCalibration.Collection = .secondMoments,
    progress: (SequentialCalibration.Progress) throws -> Void = { _ in },
    replace: (LinearGroup) throws -> [String: Weight] = { _ in [:] }
  ) throws -> [Seen] {
    var seen: [Seen] = []
    let calibration = SequentialCalibration(
      graph: model.graph, windows: windows, targets: targets ?? model.targets, collection: collection,
      pool: ThreadPool(threadCount: threads, isPinned: false))
    try calibration.run(
      weight: { .dense(try model.tensor($0)) }, progress: progress,
      quantize: { group, observed in
        seen.append(Seen(group: group, statistics: try observed.total()))
        return try replace(group)
      })
    return seen
  }

  @Test func everyTargetIsReachedOnceInOrder() throws {
    let model = try SampleModel(seed: Self.seed)
    let seen = try run(model, windows: model.windows(seed: 1))
    #expect(
      seen.map(\.group.weights) == [
        ["l0.q", "l0.k", "l0.v"], ["l0.o"], ["l0.gate", "l0.up"], ["l0.down"], ["l1.q", "l1.k", "l1.v"],
        ["l1.o"],
        ["l1.gate", "l1.up"], ["l1.down"],
      ])
    #expect(seen.map(\.group.inputName) == ["na0", "a0", "nb0", "m0", "na1", "a1", "nb1", "m1"])
    #expect(
      seen.map(\.group.scope) == [String](repeating: "layers.0", count: 4)
        + [String](repeating: "layers.1", count: 4))
    #expect(Set(seen.flatMap(\.group.weights)) == model.targets)
    #expect(seen.allSatisfy { $0.statistics.tokenCount == 26 })
  }

  @Test func statisticsAreTheInterpretersWhenNothingIsReplaced() throws {
    let model = try SampleModel(seed: Self.seed)
    let windows = model.windows(seed: 2)
    let seen = try run(model, windows: windows)
    for (number, item) in seen.enumerated() {
      let expected = try model.reference(item.group, windows)
      let deviation = try expected.deviation(of: item.statistics)
      #expect(deviation < (number == 0 ? 1e-5 : Self.compactTolerance), "\(item.group.inputName)")
      for (found, maximum) in zip(item.statistics.maxima, expected.maxima) {
        #expect(abs(found - maximum) <= 0.05 * max(maximum, 0.5), "\(item.group.inputName)")
      }
      for column in 0..<item.group.columns {
        let square = expected.secondMoment[column * item.group.columns + column]
        #expect(abs(item.statistics.squareSums[column] - square) <= 0.05 * square + 0.1)
      }
    }
  }

  @Test(arguments: ["l0.q", "l0.k", "l0.o", "l0.up", "l0.down", "l1.v"])
  func laterGroupsSeeReplacedWeights(name: String) throws {
    let model = try SampleModel(seed: Self.seed)
    let windows = model.windows(seed: 4)
    var changed = model
    let type = try #require(model.graph.constants[name])
    var generator = SeededGenerator(seed: 99)
    changed.weights[name] = try FloatMatrix(
      rows: type.dimensions[0], columns: type.dimensions[1],
      values: generator.normals(type.dimensions[0] * type.dimensions[1]).map { $0 * 0.4 })
    let seen = try run(
      model, windows: windows,
      replace: { group in
        group.weights.contains(name) ? [name: .dense(try changed.tensor(name))] : [:]
      })
    let replacedAt = try #require(seen.firstIndex { $0.group.weights.contains(name) })
    for (number, item) in seen.enumerated() {
      let plain = try model.reference(item.group, windows).deviation(of: item.statistics)
      let replaced = try changed.reference(item.group, windows).deviation(of: item.statistics)
      if number <= replacedAt {
        #expect(plain < Self.compactTolerance, "\(item.group.inputName) before \(name)")
      } else {
        #expect(replaced < Self.compactTolerance, "\(item.group.inputName) after \(name)")
        #expect(plain > 2 * Self.compactTolerance, "\(item.group.inputName) after \(name)")
      }
    }
  }

  @Test func laterGroupsSeeQuantizedWeights() throws {
    let model = try SampleModel(seed: Self.seed)
    let windows = model.windows(seed: 5)
    let codec = try IntegerGroupCodec(bits: 2, groupSize: 16)
    var quantized = model
    let seen = try run(
      model, windows: windows,
      replace: { group in
        var result: [String: Weight] = [:]
        for name in group.weights {
          let matrix = try codec.encode(try #require(model.weights[name]), importance: nil, search: .standard)
          quantized.weights[name] = matrix.decoded()
          result[name] = .encoded(matrix)
        }
        return result
      })
    for (number, item) in seen.enumerated() {
      #expect(
        try quantized.reference(item.group, windows).deviation(of: item.statistics) < Self.compactTolerance)
      guard number > 0 else { continue }
      #expect(
        try model.reference(item.group, windows).deviation(of: item.statistics) > 2 * Self.compactTolerance)
    }
  }

  /// What is calibrated are weights: codes behind which inputs could be rounded to integers are multiplied as the floats they stand for.
  @Test func inputsOfQuantizedWeightsAreNotRounded() throws {
    let model = try SampleModel(seed: Self.seed)
    let windows = model.windows(seed: 6)
    let codec = try IntegerGroupCodec(bits: 4, groupSize: nil)
    func replaced(_ form: (EncodedMatrix) throws -> Weight) throws -> [Seen] {
      try run(
        model, windows: windows,
        replace: { group in
          var result: [String: Weight] = [:]
          for name in group.weights {
            let weights = try #require(model.weights[name])
            result[name] = try form(codec.encode(weights, importance: nil, search: .standard))
          }
          return result
        })
    }
    let codes = try replaced { .encoded($0) }
    let floats = try replaced { matrix in
      let values = matrix.decoded()
      return .dense(try Tensor(values.values, shape: Shape([values.rows, values.columns])))
    }
    #expect(codes.map(\.statistics.squareSums) == floats.map(\.statistics.squareSums))
  }

  /// The drift is the mean of (x' - x) xᵀ, with x' what the interpreter finds with the weights as they were.
  @Test(arguments: [1, 2])
  func driftIsWhatQuantizationDidToTheInputs(threads: Int) throws {
    let model = try SampleModel(seed: Self.seed)
    let windows = model.windows(seed: 5)
    let codec = try IntegerGroupCodec(bits: 2, groupSize: 16)
    var quantized = model
    let seen = try run(
      model, windows: windows, threads: threads, collection: .secondMomentsAndDrift,
      replace: { group in
        var result: [String: Weight] = [:]
        for name in group.weights {
          let matrix = try codec.encode(try #require(model.weights[name]), importance: nil, search: .standard)
          quantized.weights[name] = matrix.decoded()
          result[name] = .encoded(matrix)
        }
        return result
      })
    #expect(seen[0].statistics.driftSum == nil)
    for item in seen.dropFirst() {
      let columns = item.group.columns
      let before = try model.inputs(item.group, windows)
      let after = try quantized.inputs(item.group, windows)
      var expected = [Double](repeating: 0, count: columns * columns)
      for (number, (old, new)) in zip(before, after).enumerated()
      where number % SequentialCalibration.driftStride == 0 {
        for token in 0..<old.count / columns {
          for row in 0..<columns {
            let difference = Double(old[token * columns + row]) - Double(new[token * columns + row])
            for column in 0..<columns {
              expected[row * columns + column] += difference * Double(new[token * columns + column])
            }
          }
        }
      }
      let found = try #require(item.statistics.driftSum)
      let size = expected.reduce(0) { $0 + $1 * $1 }.squareRoot()
      let distance = zip(found, expected).reduce(0) { $0 + (Double($1.0) - $1.1) * (Double($1.0) - $1.1) }
        .squareRoot()
      #expect(size > 0 && distance < 0.05 * size, "\(item.group.inputName): \(distance) of \(size)")
    }
    let plain = try run(model, windows: windows, collection: .secondMomentsAndDrift)
    #expect(plain.allSatisfy { $0.statistics.driftSum == nil }, "nothing was replaced")
  }

  @Test func someTargetsGiveSomeGroups() throws {
    let model = try SampleModel(seed: Self.seed)
    let windows = model.windows(seed: 6)
    let seen = try run(model, windows: windows, targets: ["l0.k", "l1.down", "head", "nowhere"])
    #expect(seen.map(\.group.weights) == [["l0.k"], ["l1.down"], ["head"]])
    for item in seen {
      #expect(try model.reference(item.group, windows).deviation(of: item.statistics) < Self.compactTolerance)
    }
    #expect(try run(model, windows: windows, targets: ["nowhere"]).isEmpty)
  }

  @Test func theNumberOfThreadsDoesNotChangeABit() throws {
    let model = try SampleModel(seed: Self.seed)
    let windows = model.windows(seed: 7)
    let alone = try run(model, windows: windows)
    let together = try run(model, windows: windows, threads: 2)
    #expect(alone.map(\.statistics) == together.map(\.statistics))
    let moments = try run(model, windows: windows, collection: .moments)
    #expect(moments.map(\.statistics.squareSums) == alone.map(\.statistics.squareSums))
    #expect(moments.allSatisfy { $0.statistics.secondMomentSum == nil })
  }

  @Test func progressGrowsAndItsErrorsEndTheRun() throws {
    let model = try SampleModel(seed: Self.seed)
    let windows = model.windows(seed: 8)
    var fractions: [Double] = []
    _ = try run(model, windows: windows, progress: { fractions.append($0.fraction) })
    #expect(fractions.count == 24)
    #expect(fractions == fractions.sorted())
    #expect(fractions[0] == 0 && fractions[23] < 1)
    #expect(throws: Cancelled.self) { try run(model, windows: windows, progress: { _ in throw Cancelled() }) }
    #expect(throws: Cancelled.self) { try run(model, windows: windows, replace: { _ in throw Cancelled() }) }
  }

  @Test func nonFiniteActivationsAreRefusedWithTheirPlace() throws {
    var model = try SampleModel(seed: Self.seed)
    model.weights["embed"]?[29, 3] = .infinity
    let windows = CalibrationWindows(windows: [[1, 2, 3], [4, 29, 5]])
    let error = try #require(throws: CalibrationError.self) { try run(model, windows: windows) }
    #expect(error.diagnostic.code == "calibration.non-finite")
    #expect(error.diagnostic.subject == "l0.q")
    #expect(error.description.contains("window 1"))
  }

  @Test func missingWeightsEndTheRun() throws {
    var model = try SampleModel(seed: Self.seed)
    model.weights["l1.up"] = nil
    var targets = model.targets
    targets.insert("l1.up")
    #expect(throws: (any Error).self) { try run(model, windows: model.windows(seed: 9), targets: targets) }
  }
}
