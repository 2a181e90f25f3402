import Codecs
import OrderedCollections
import TensorCore
import TestSupport
import Testing

/// Laws of moving codes from one evenly spaced codec to another.
@Suite struct CodecBridgeTests {
  static let names: [String] = {
    var names = ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0"]
    for bits in [2, 3, 4, 5, 8] {
      for group in ["g32", "g64", "gall"] {
        for symmetry in ["sym", "asym"] { names.append("int\(bits)-\(group)-\(symmetry)") }
      }
    }
    return names + ["int4-g32-asym-bf16", "int4-g128-sym-f32", "int8-g32-sym-bf16"]
  }()

  static func matrix(_ name: String, seed: UInt64, columns: Int = 128) throws -> EncodedMatrix {
    var generator = SeededGenerator(seed: seed)
    let values = try FloatMatrix(rows: 5, columns: columns, values: generator.normals(5 * columns))
    return try CodecRegistry.codec(canonicalName: name).encode(values, importance: nil, search: .extremes)
  }

  /// Every pair keeps what it promises: the same floats, or floats within the bound, or no matrix at all.
  @Test(arguments: names) func promisesHold(_ source: String) throws {
    var counts = (exact: 0, rounded: 0, impossible: 0)
    for (seed, target) in Self.names.enumerated() {
      let matrix = try Self.matrix(source, seed: UInt64(seed))
      let codec = try CodecRegistry.codec(canonicalName: target)
      let bridge = try #require(CodecBridge(from: matrix.codec, to: codec))
      let old = matrix.decoded().values
      switch bridge.fit(matrix) {
      case .exact:
        counts.exact += 1
        let new = try bridge.convert(matrix)
        #expect(new.codec.canonicalName == target)
        #expect(new.decoded().values == old, "\(source) to \(target), seed \(seed)")
      case .rounded(let bound):
        counts.rounded += 1
        let new = try bridge.convert(matrix).decoded().values
        let worst = zip(old, new).map { abs($0 - $1) }.max() ?? 0
        #expect(bound > 0 && worst <= bound, "\(source) to \(target): \(worst) > \(bound), seed \(seed)")
        #expect(worst > 0 || bound < 1e-4, "\(source) to \(target): the bound is idle")
      case .impossible:
        counts.impossible += 1
        #expect(throws: CodecError.self) { _ = try bridge.convert(matrix) }
      }
    }
    #expect(counts.exact > 0, "not even into itself")
  }

  static let known: [(String, String, String)] = [
    ("int4-g64-sym", "q4_0", "exact"), ("int3-g32-sym", "q4_0", "exact"), ("int8-gall-sym", "q8_0", "exact"),
    ("int4-g32-asym", "q8_0", "exact"), ("int4-g32-asym", "q5_0", "exact"),
    ("int4-g32-asym", "q4_1", "rounded"),
    ("q4_0", "int4-g32-sym", "exact"), ("q8_0", "int8-g32-sym", "exact"), ("q4_1", "q5_1", "exact"),
    ("q4_0", "int4-g64-sym", "impossible"), ("int8-g32-sym", "q4_0", "impossible"),
    ("q4_1", "int4-g32-asym", "impossible"), ("int4-g32-sym", "int4-g32-asym", "exact"),
  ]

  @Test(arguments: known) func fitsAreKnown(_ source: String, _ target: String, _ expected: String) throws {
    let matrix = try Self.matrix(source, seed: 7)
    let codec = try CodecRegistry.codec(canonicalName: target)
    let fit = try #require(CodecBridge(from: matrix.codec, to: codec)).fit(matrix)
    let found =
      switch fit {
      case .exact: "exact"
      case .rounded: "rounded"
      case .impossible: "impossible"
      }
    #expect(found == expected, "\(fit)")
  }

  /// There and back gives the same planes.
  @Test(arguments: [("int4-g32-sym", "q4_0"), ("int8-g32-sym", "q8_0"), ("int5-g32-sym", "q5_0")])
  func roundTripsKeepEveryByte(_ first: String, _ second: String) throws {
    let matrix = try Self.matrix(first, seed: 3)
    let codec = try CodecRegistry.codec(canonicalName: second)
    let there = try #require(CodecBridge(from: matrix.codec, to: codec)).convert(matrix)
    let back = try #require(CodecBridge(from: codec, to: matrix.codec)).convert(there)
    for (name, plane) in matrix.planes {
      let other = try #require(back.planes[name])
      #expect(unsafe plane.withBytes { unsafe Array($0) } == other.withBytes { unsafe Array($0) }, "\(name)")
    }
  }

  @Test func scalesThatATypeCannotHoldAreRefused() throws {
    let codec = try CodecRegistry.codec(canonicalName: "int4-g32-sym-f32")
    let values = try FloatMatrix(rows: 1, columns: 32, values: (0..<32).map { Float($0) * 1e6 })
    let matrix = try codec.encode(values, importance: nil, search: .extremes)
    let target = try CodecRegistry.codec(canonicalName: "q4_0")
    guard case .impossible(let reason) = CodecBridge(from: codec, to: target)?.fit(matrix) else {
      Issue.record("it fits")
      return
    }
    #expect(reason.contains("out of range of f16"), "\(reason)")
  }

  @Test func actOrderAndKQuantsHaveNoBridge() throws {
    let ordered = try CodecRegistry.codec(canonicalName: "int4-g32-sym-gidx")
    let values = FloatMatrix(zeros: 2, 256)
    let target = try CodecRegistry.codec(canonicalName: "q4_0")
    let matrix = try ordered.encode(values, importance: nil, search: .extremes)
    guard case .impossible(let reason) = CodecBridge(from: ordered, to: target)?.fit(matrix) else {
      Issue.record("act-order fits")
      return
    }
    #expect(reason.contains("act-order"))
    let super2 = try CodecRegistry.codec(canonicalName: "q4_k")
    let blocks = try super2.encode(values, importance: nil, search: .extremes)
    guard case .impossible = CodecBridge(from: super2, to: target)?.fit(blocks) else {
      Issue.record("a k-quant fits")
      return
    }
  }
}
