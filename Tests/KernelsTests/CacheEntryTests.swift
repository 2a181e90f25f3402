import Codecs
import Glibc
import Kernels
import TestSupport
import Testing

/// Static scales of caches, and caches that keep some entries and forget others.
@Suite struct CacheEntryTests {
  static let pool = ThreadPool(threadCount: 2, isPinned: false)

  /// A cache of `count` tokens of two heads, and what was put into it.
  struct Filled {
    let cache: KVPages
    let keys: [Float]
    let values: [Float]
    static let heads = 2

    init(
      _ format: KVFormat, count: Int, dimension: Int = 40, valueDimension: Int = 24, scales: KVScales? = nil,
      kernels: KernelTable = .best, seed: UInt64 = 5, spread: Float = 1
    ) {
      var generator = SeededGenerator(seed: seed)
      keys = generator.normals(count * Filled.heads * dimension).map { $0 * spread }
      values = generator.normals(count * Filled.heads * valueDimension).map { $0 * spread }
      cache = KVPages(
        heads: Filled.heads, headDimension: dimension, valueDimension: valueDimension, format: format,
        scales: scales)
      append(keys, values, kernels)
    }

    func append(_ keys: [Float], _ values: [Float], _ kernels: KernelTable = .best) {
      let width = Filled.heads * cache.headDimension
      let rows = keys.count / width
      let k = RowBuffer(keys, rows: rows, columns: width)
      let v = RowBuffer(values, rows: rows, columns: Filled.heads * cache.valueDimension)
      unsafe kernels.appendKV(k: k.view, v: v.view, to: cache, pool: CacheEntryTests.pool)
    }

    /// Attention of the last token, with two query heads a key/value head.
    func attend(_ queries: [Float], kernels: KernelTable = .best) -> [Float] {
      let heads = Filled.heads * 2
      let q = RowBuffer(
        Array(queries.prefix(heads * cache.headDimension)), rows: 1, columns: heads * cache.headDimension)
      let y = RowBuffer(rows: 1, columns: heads * cache.valueDimension)
      unsafe kernels.attention(
        q.view, cache: cache, heads: heads, scale: 0.2, into: y.view, workspace: Workspace(),
        pool: CacheEntryTests.pool)
      return y.values
    }
  }

  static let formats: [KVFormat] = [
    .f32, .f16, KVFormat(keys: .int8), KVFormat(keys: .int4), KVFormat(keys: .fp8),
    KVFormat(keys: .int4, values: .int8, rotation: .both), KVFormat(keys: .f16, values: .int4),
  ]

  /// The entries `indices` of a head of `[token][head][element]`.
  private static func rows(_ all: [Float], _ head: Int, _ width: Int, _ indices: [Int]) -> [Float] {
    indices.flatMap { token in
      let start = (token * Filled.heads + head) * width
      return all[start..<start + width]
    }
  }

  @Test(arguments: [KVElement.int8, .fp8], [1, 2])
  func staticScalesAreTaken(element: KVElement, count: Int) throws {
    let scales = KVScales(
      keys: Array([0.0137, 0.0271].prefix(count)), values: Array([0.0071, 0.0313].prefix(count)))
    let format = KVFormat(keys: element, keyScales: .tensor)
    var results: [[UInt32]] = []
    for set in instructionSets {
      // Numbers beyond the range, which become its end.
      let filled = Filled(format, count: 90, scales: scales, kernels: try table(set), spread: 2)
      for head in 0..<Filled.heads {
        for (found, all, width, side) in [
          (filled.cache.keys(head: head), filled.keys, 40, scales.keys),
          (filled.cache.values(head: head), filled.values, 24, scales.values),
        ] {
          let expected = Self.rows(all, head, width, Array(0..<90)).map {
            Self.rounded($0, element, side[count == 1 ? 0 : head])
          }
          #expect(found == expected)
          #expect(
            Set(found.map(\.magnitude)).contains(expected.map(\.magnitude).max() ?? 0), "something saturates")
        }
      }
      results.append(bits(filled.attend(filled.keys, kernels: try table(set))))
    }
    #expect(results.allSatisfy { $0 == results[0] })
  }

  private static func rounded(_ x: Float, _ element: KVElement, _ scale: Float) -> Float {
    if element == .int8 {
      let stored = Float(Float16(scale))
      return min(max((x * (1 / stored)).rounded(.toNearestOrEven), -127), 127) * stored
    }
    let stored = Float(Float16(scale * 256))
    let small = min(max(x * (1 / stored), -1.75), 1.75) * 256
    guard small != 0 else { return 0 }
    let step = max(small.magnitude.binade, 0x1p-6) / 8
    return (small / step).rounded(.toNearestOrEven) * step / 256 * stored
  }

  @Test func whatIsNotFiniteIsNotHiddenByAStaticScale() {
    let format = KVFormat(keys: .int8, keyScales: .tensor)
    let filled = Filled(format, count: 20, scales: KVScales(keys: [0.05], values: [0.05]))
    var keys = [Float](repeating: 1, count: Filled.heads * 40)
    keys[3] = .nan
    filled.append(keys, [Float](repeating: 1, count: Filled.heads * 24))
    #expect(filled.attend([Float](repeating: 1, count: 160)).contains { $0.isNaN })
  }

  @Test(arguments: formats) func keptEntriesAreThoseThatWereThere(format: KVFormat) throws {
    for count in [15, 64, 300, 530] {
      let filled = Filled(format, count: count)
      let before = (0..<2).map { (filled.cache.keys(head: $0), filled.cache.values(head: $0)) }
      var generator = SeededGenerator(seed: UInt64(count))
      let kept = (0..<2).map { _ in
        Array((0..<count).shuffled(using: &generator).prefix(count * 2 / 3).sorted())
      }
      filled.cache.keep(kept)
      #expect(filled.cache.count == count * 2 / 3)
      for head in 0..<2 {
        let (keys, values) = (filled.cache.keys(head: head), filled.cache.values(head: head))
        for (index, entry) in kept[head].enumerated() {
          #expect(keys[(index * 40)..<(index * 40 + 40)] == before[head].0[(entry * 40)..<(entry * 40 + 40)])
          #expect(
            values[(index * 24)..<(index * 24 + 24)] == before[head].1[(entry * 24)..<(entry * 24 + 24)])
        }
      }
    }
  }

  /// A cache that forgot entries is one that never had them, bit by bit, also when it goes on.
  @Test(arguments: formats) func attentionSeesAShorterSequence(format: KVFormat) throws {
    let filled = Filled(format, count: 330)
    let kept = Array(0..<4) + Array(100..<203) + Array(310..<330)
    filled.cache.keep([kept, kept])
    func tokens(_ all: [Float], _ width: Int) -> [Float] {
      kept.flatMap { all[($0 * 2 * width)..<($0 * 2 * width + 2 * width)] }
    }
    let fresh = Filled(format, count: 0)
    fresh.append(tokens(filled.keys, 40), tokens(filled.values, 24))
    let more = Filled(.f32, count: 70, seed: 8)
    for set in instructionSets {
      let kernels = try table(set)
      #expect(
        bits(filled.attend(more.keys, kernels: kernels)) == bits(fresh.attend(more.keys, kernels: kernels)))
    }
    filled.append(more.keys, more.values)
    fresh.append(more.keys, more.values)
    #expect(bits(filled.attend(more.keys)) == bits(fresh.attend(more.keys)))
    #expect(filled.cache.byteCount == fresh.cache.byteCount * 2, "two pages, of which one is free")
    #expect(
      !filled.cache.canTruncate(to: 50) && filled.cache.canTruncate(to: 0) && fresh.cache.canTruncate(to: 50))
    filled.cache.truncate(to: 0)
    filled.append(more.keys, more.values)
    let other = Filled(format, count: 0)
    other.append(more.keys, more.values)
    #expect(bits(filled.attend(more.keys)) == bits(other.attend(more.keys)))
    #expect(filled.cache.canTruncate(to: 50))
  }

  @Test func keysAreReplacedAndValuesStay() {
    for format in Self.formats {
      let filled = Filled(format, count: 40)
      let other = Filled(format, count: 5, seed: 9)
      let before = filled.cache.values(head: 1)
      filled.cache.replaceKeys(from: other.cache, count: 3, at: 20)
      #expect(filled.cache.values(head: 1) == before)
      #expect(filled.cache.keys(head: 1)[800..<920] == other.cache.keys(head: 1)[0..<120])
    }
  }

  @Test func someCachesCannotForgetSingleEntries() {
    func refusal(_ format: KVFormat, window: Int = 0) -> String? {
      KVPages(heads: 1, headDimension: 16, format: format, window: window).keepingRefusal
    }
    #expect(refusal(KVFormat(keys: .int8)) == nil)
    #expect(refusal(KVFormat(keys: .int8), window: 5) != nil)
    #expect(refusal(KVFormat(keys: .int8, recent: 5)) != nil)
    #expect(refusal(KVFormat(keys: .int4, keyScales: .channel)) != nil)
  }

  @Test(arguments: [KVFormat.f32, KVFormat(keys: .int8, rotation: .keys)])
  func massIsTheSoftmaxSummedOverQueries(format: KVFormat) {
    let filled = Filled(format, count: 200, dimension: 32)
    var generator = SeededGenerator(seed: 4)
    let (rows, heads) = (70, 6)
    let queries = generator.normals(rows * heads * 32)
    let (slopes, sinks) = (generator.normals(heads).map { abs($0) / 50 }, generator.normals(heads))
    let q = RowBuffer(queries, rows: rows, columns: heads * 32)
    let found = unsafe KernelTable.best.attentionMass(
      q.view, cache: filled.cache,
      KernelTable.AttentionScores(heads: heads, scale: 0.25, softcap: 3, slopes: slopes, sinks: sinks),
      pool: Self.pool)
    for head in 0..<2 {
      var keys = filled.cache.keys(head: head)
      if format.rotation == .keys { keys = PlainCache.rotated(keys, 32) }
      var expected = [Double](repeating: 0, count: 200)
      for row in 0..<rows {
        for queryHead in head * 3..<head * 3 + 3 {
          let visible = 200 - rows + row + 1
          let logits = (0..<visible).map { key -> Double in
            let dot = (0..<32).reduce(0.0) {
              $0 + Double(queries[(row * heads + queryHead) * 32 + $1]) * Double(keys[key * 32 + $1])
            }
            return 3 * tanh(dot * 0.25 / 3) + Double(slopes[queryHead]) * Double(key - (visible - 1))
          }
          let total = logits.reduce(exp(Double(sinks[queryHead]))) { $0 + exp($1) }
          for key in 0..<visible { expected[key] += exp(logits[key]) / total }
        }
      }
      #expect(relativeError(found[head], expected, floor: 1e-3) < 1e-3)
    }
  }
}
