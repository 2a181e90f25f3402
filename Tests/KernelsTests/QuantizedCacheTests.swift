import Codecs
import Glibc
import Kernels
import TestSupport
import Testing

/// Attention over quantized caches against a plain reference that quantizes, reads back and sums in double.
struct QuantizedCacheTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var heads = 4
    var kvHeads = 2
    var dimension = 32
    var values: Int?
    var keys = 150
    var queries = 150
    var window = 0
    var hasSinks = false
    var format: KVFormat
    var valueDimension: Int { values ?? dimension }
    var testDescription: String {
      "\(format): \(heads)/\(kvHeads) heads of \(dimension) and \(valueDimension), \(queries) of \(keys), window \(window)"
    }
  }

  static let cases =
    [KVElement.int8, .int4, .fp8].flatMap { element in
      [
        Case(format: KVFormat(keys: element)),
        Case(
          heads: 3, kvHeads: 3, dimension: 7, values: 20, keys: 70, queries: 3,
          format: KVFormat(keys: element)),
        Case(
          heads: 5, kvHeads: 1, dimension: 80, keys: 300, queries: 30, window: 90,
          format: KVFormat(keys: element)),
        Case(
          heads: 6, kvHeads: 2, dimension: 64, keys: 257, queries: 1, hasSinks: true,
          format: KVFormat(keys: element)),
        Case(dimension: 96, keys: 140, queries: 140, format: KVFormat(keys: element, rotation: .both)),
        Case(keys: 200, queries: 90, format: KVFormat(keys: element, rotation: .keys, recent: 5)),
        Case(dimension: 40, keys: 140, queries: 140, format: KVFormat(keys: element, keyScales: .channel)),
        Case(
          dimension: 64, keys: 270, queries: 30,
          format: KVFormat(keys: element, rotation: .both, keyScales: .channel, recent: 70)),
      ]
    } + [
      Case(format: KVFormat(keys: .int8, values: .int4)), Case(format: KVFormat(keys: .f16, values: .int8)),
      Case(format: KVFormat(keys: .int4, values: .f32, recent: 1)),
    ]

  struct Data {
    let q: [Float]
    let k: [Float]
    let v: [Float]
    let sinks: [Float]

    init(_ test: Case) {
      var generator = SeededGenerator(seed: 77)
      q = generator.normals(test.keys * test.heads * test.dimension)
      var k = generator.normals(test.keys * test.kvHeads * test.dimension)
      // Channels that stand out, as those of real keys do.
      for index in k.indices where index % test.dimension % 29 == 3 { k[index] = k[index] * 4 + 20 }
      self.k = k
      v = generator.normals(test.keys * test.kvHeads * test.valueDimension)
      sinks = generator.normals(test.heads)
    }
  }

  static func run(
    _ table: KernelTable, _ test: Case, _ data: Data, parts: [Int] = [5, 1, 50, .max], threads: Int = 1
  )
    -> [Float]
  {
    let pool = ThreadPool(threadCount: threads, isPinned: false)
    let cache = KVPages(
      heads: test.kvHeads, headDimension: test.dimension, valueDimension: test.values, format: test.format)
    let (width, values) = (test.kvHeads * test.dimension, test.kvHeads * test.valueDimension)
    let columns = test.heads * test.dimension
    var start = 0
    var result: [Float] = []
    for part in parts {
      let end = part == .max ? test.keys : min(test.keys, start + part)
      guard end > start else { continue }
      let rows = end - start
      let k = RowBuffer(Array(data.k[start * width..<end * width]), rows: rows, columns: width)
      let v = RowBuffer(Array(data.v[start * values..<end * values]), rows: rows, columns: values, padding: 1)
      unsafe table.appendKV(k: k.view, v: v.view, to: cache, pool: pool)
      let q = RowBuffer(Array(data.q[start * columns..<end * columns]), rows: rows, columns: columns)
      let y = RowBuffer(rows: rows, columns: test.heads * test.valueDimension, padding: 3)
      unsafe data.sinks.withUnsafeBufferPointer { sinks in
        unsafe table.attention(
          q.view, cache: cache, heads: test.heads, scale: 0.3, window: test.window,
          sinks: test.hasSinks ? sinks.baseAddress : nil, into: y.view, workspace: Workspace(), pool: pool)
      }
      #expect(y.isGuarded)
      result += y.values
      start = end
    }
    return Array(result[((test.keys - test.queries) * test.heads * test.valueDimension)...])
  }

  @Test(arguments: cases)
  func matchesThePlainReference(test: Case) throws {
    let data = Data(test)
    let expected = PlainCache(test, data).attend()
    let found = Self.run(.best, test, data)
    let error = zip(found, expected).map { abs(Double($0) - $1) }.max() ?? .infinity
    // A number of 15 bits may fall the other way where the softmax differs in its last bits.
    #expect(error < (test.format.keys == .int8 || test.format.values == .int8 ? 1e-4 : 5e-5))
    for set in instructionSets {
      #expect(bits(found) == bits(Self.run(try table(set), test, data)), "\(set)")
    }
    #expect(bits(found) == bits(Self.run(.best, test, data, parts: [.max], threads: 2)))
    #expect(bits(found) == bits(Self.run(.best, test, data, parts: [Int](repeating: 7, count: 60))))
  }

  /// The rounding is there, and smaller where there are more bits.
  @Test func errorsFollowTheBits() throws {
    func error(_ format: KVFormat) -> Double {
      let test = Case(dimension: 64, keys: 200, queries: 100, format: format)
      let data = Data(test)
      let exact = Self.run(.best, Case(dimension: 64, keys: 200, queries: 100, format: .f32), data)
      let found = Self.run(.best, test, data)
      let squares = zip(found, exact).map { Double(($0 - $1) * ($0 - $1)) }.reduce(0, +)
      return (squares / Double(found.count)).squareRoot()
    }
    let errors = [KVElement.f16, .int8, .int4].map { error(KVFormat(keys: $0)) }
    #expect(errors[0] > 0 && zip(errors, errors.dropFirst()).allSatisfy { $0 * 2 < $1 }, "\(errors)")
    let float8 = error(KVFormat(keys: .fp8))
    #expect(float8 > errors[1] && float8 < 1, "\(float8)")
    let plain = error(KVFormat(keys: .int4, values: .f16))
    let rotated = error(KVFormat(keys: .int4, values: .f16, rotation: .keys))
    #expect(rotated < plain * 0.8, "rotation spreads channels that stand out: \(rotated), \(plain)")
    let channels = error(KVFormat(keys: .int4, values: .f16, keyScales: .channel))
    #expect(channels < plain * 0.5, "\(channels), \(plain)")
    #expect(error(KVFormat(keys: .int4, recent: 256)) < errors[0] * 1.01)
  }

  @Test func pagesTakeWhatTheyShould() {
    func bytes(_ format: KVFormat) -> Double {
      KVPages(heads: 4, headDimension: 64, format: format).bytesPerToken
    }
    #expect(bytes(.f32) == 2048)
    #expect(bytes(.f16) == 1024)
    #expect(bytes(KVFormat(keys: .int8)) == 4 * 2 * (64 + 2))
    #expect(bytes(KVFormat(keys: .fp8)) == 4 * 2 * (64 + 2))
    #expect(bytes(KVFormat(keys: .int4)) == 4 * 2 * (32 + 8))
    #expect(bytes(KVFormat(keys: .int4, values: .f16, keyScales: .channel)) == 4 * (32 + 4 + 128))
  }
}

extension QuantizedCacheTests {
  /// What is kept as halves lies in pages of a tile, and no more of them stay than the next token may need.
  @Test(arguments: [0, 1, 64, 200]) func recentTokensTakeFewPages(recent: Int) {
    let format = KVFormat(keys: .int4, rotation: .both, keyScales: .channel, recent: recent)
    let pool = ThreadPool(threadCount: 1)
    let cache = KVPages(heads: 2, headDimension: 16, format: format)
    var generator = SeededGenerator(seed: 78)
    let tile = 64 * 2 * 16 * 2 * 2
    for count in [700, 1, 1, 70, 1, 300, 1] {
      let rows = RowBuffer(generator.normals(count * 32), rows: count, columns: 32)
      unsafe KernelTable.best.appendKV(k: rows.view, v: rows.view, to: cache, pool: pool)
      let pages = (cache.count + 255) / 256
      let kept = cache.byteCount - Int(cache.bytesPerToken * 256) * pages
      #expect(kept >= (recent + 63) / 64 * tile)
      guard count == 1 else { continue }
      #expect(kept <= ((recent + 127) / 64 + 2) * tile, "\(cache.count) tokens")
    }
  }
}

/// The cache written out: float32 where codes are chosen, double where they are used.
struct PlainCache {
  let test: QuantizedCacheTests.Case
  let data: QuantizedCacheTests.Data
  /// `[token][head][element]`, rotated where the format says so; `old` as read back from codes, `recent` as halves.
  private var old: (keys: [Float], values: [Float])
  private var recent: (keys: [Float], values: [Float])
  private let rotatedValues: [Float]

  init(_ test: QuantizedCacheTests.Case, _ data: QuantizedCacheTests.Data) {
    self.test = test
    self.data = data
    let format = test.format
    let keys = format.rotation == .none ? data.k : PlainCache.rotated(data.k, test.dimension)
    let values = format.rotation == .both ? PlainCache.rotated(data.v, test.valueDimension) : data.v
    rotatedValues = values
    recent = (keys.map { Float(Float16($0)) }, values.map { Float(Float16($0)) })
    old = (
      PlainCache.stored(keys, test.dimension, format.keys),
      PlainCache.stored(values, test.valueDimension, format.values)
    )
    guard format.keyScales == .channel, format.keys.hasScales else { return }
    let width = test.kvHeads * test.dimension
    for tile in 0..<test.keys / 64 {
      for channel in 0..<width {
        let indices = (0..<64).map { (tile * 64 + $0) * width + channel }
        let codes = PlainCache.group(indices.map { recent.keys[$0] }, format.keys)
        for (index, value) in zip(indices, codes) { old.keys[index] = value }
      }
    }
  }

  static func rotated(_ values: [Float], _ dimension: Int) -> [Float] {
    let block = min(dimension & -dimension, 256)
    guard block > 1 else { return values }
    var result = values
    for start in stride(from: 0, to: values.count, by: block) {
      var half = 1
      while half < block {
        for i in 0..<block where i & half == 0 {
          let (a, b) = (result[start + i], result[start + i + half])
          result[start + i] = a + b
          result[start + i + half] = a - b
        }
        half *= 2
      }
      for i in 0..<block { result[start + i] *= Float(1 / Double(block).squareRoot()) }
    }
    return result
  }

  static func stored(_ values: [Float], _ dimension: Int, _ element: KVElement) -> [Float] {
    switch element {
    case .f32: return values
    case .f16: return values.map { Float(Float16($0)) }
    default: break
    }
    let length = element == .int4 ? 32 : 64
    var result: [Float] = []
    for start in stride(from: 0, to: values.count, by: dimension) {
      for first in stride(from: 0, to: dimension, by: length) {
        result += group(Array(values[start + first..<start + min(first + length, dimension)]), element)
      }
    }
    return result
  }

  /// What a group reads back as.
  static func group(_ x: [Float], _ element: KVElement) -> [Float] {
    let largest = x.map(abs).max() ?? 0
    switch element {
    case .int8:
      let scale = Float(Float16(largest / 127))
      return x.map { min(max(($0 * (1 / scale)).rounded(.toNearestOrEven), -127), 127) * scale }
    case .fp8:
      let scale = Float(Float16(largest / 1.75))
      return x.map { e4m3(min(max($0 * (1 / scale), -1.75), 1.75) * 256) / 256 * scale }
    default: return nibbles(x)
    }
  }

  static func e4m3(_ value: Float) -> Float {
    guard value != 0 else { return 0 }
    let step = max(value.magnitude.binade, 0x1p-6) / 8
    return (value / step).rounded(.toNearestOrEven) * step
  }

  /// The best of eight ranges; sums as vectors of 16 lanes, so that ties fall the same way.
  static func nibbles(_ x: [Float]) -> [Float] {
    let padded = x + [Float](repeating: x[x.count - 1], count: (16 - x.count % 16) % 16)
    let (most, least) = (x.max() ?? 0, x.min() ?? 0)
    var best: (error: Float, values: [Float])?
    for step in 0..<8 {
      let cut = (most - least) * (0.02 * Float(step))
      let minimum = Float(Float16(least + cut))
      let scale = Float(Float16((most - least - 2 * cut) * (1 / 15)))
      var lanes = [Float](repeating: 0, count: 16)
      let values = padded.enumerated().map { index, value in
        let code = min(max(((value - minimum) * (1 / scale)).rounded(.toNearestOrEven), 0), 15)
        let read = minimum.addingProduct(code, scale)
        lanes[index % 16].addProduct(value - read, value - read)
        return read
      }
      var half = 8
      while half > 0 {
        for i in 0..<half { lanes[i] += lanes[i + half] }
        half /= 2
      }
      if lanes[0] < best?.error ?? .infinity { best = (lanes[0], values) }
    }
    return Array((best?.values ?? []).prefix(x.count))
  }

  func attend() -> [Double] {
    let q = test.format.rotation == .none ? data.q : PlainCache.rotated(data.q, test.dimension)
    let keepsRecent =
      (test.format.keys.hasScales || test.format.values.hasScales)
      && (test.format.recent > 0 || (test.format.keys.hasScales && test.format.keyScales == .channel))
    var result: [Double] = []
    for query in test.keys - test.queries..<test.keys {
      let boundary = keepsRecent ? max(query + 1 - test.format.recent, 0) / 64 * 64 : query + 1
      for head in 0..<test.heads {
        let kvHead = head / (test.heads / test.kvHeads)
        let first = test.window > 0 ? max(0, query - test.window + 1) : 0
        let row = Array(
          q[(query * test.heads + head) * test.dimension..<(query * test.heads + head + 1) * test.dimension])
        let whole =
          test.format.keys == .int8 && test.format.keyScales != .channel ? PlainCache.whole(row) : row
        let logits = (first...query).map { key -> Double in
          let (keys, query) = key < boundary ? (old.keys, whole) : (recent.keys, row)
          return 0.3
            * (0..<test.dimension).reduce(0.0) {
              $0 + Double(query[$1]) * Double(keys[(key * test.kvHeads + kvHead) * test.dimension + $1])
            }
        }
        let largest = logits.max() ?? 0
        let weights = logits.map { exp($0 - largest) }
        let total = weights.reduce(0, +) + (test.hasSinks ? exp(Double(data.sinks[head]) - largest) : 0)
        var sums = [Double](repeating: 0, count: test.valueDimension)
        for d in sums.indices {
          let whole = wholeWeights(weights, first, boundary, kvHead, d / 64 * 64)
          for (index, weight) in whole.enumerated() {
            let values = first + index < boundary ? old.values : recent.values
            sums[d] +=
              weight * Double(values[((first + index) * test.kvHeads + kvHead) * test.valueDimension + d])
          }
        }
        result += unrotated(sums.map { $0 / total })
      }
    }
    return result
  }

  /// A query as numbers of 15 bits and a sign, with a scale for every 64 elements.
  static func whole(_ x: [Float]) -> [Float] {
    stride(from: 0, to: x.count, by: 64).flatMap { start -> [Float] in
      let group = x[start..<min(start + 64, x.count)]
      let largest = group.map(\.magnitude).max() ?? 0
      return group.map {
        largest == 0 ? 0 : ($0 * (32767 / largest)).rounded(.toNearestOrEven) * (largest / 32767)
      }
    }
  }

  /// Weights of the softmax, of which those that meet int8 values become, times the scales of these, numbers of 15 bits in
  /// every tile of 64 keys.
  private func wholeWeights(
    _ weights: [Double], _ first: Int, _ boundary: Int, _ head: Int, _ group: Int
  ) -> [Double] {
    guard test.format.values == .int8 else { return weights }
    var result = weights
    let scales = weights.indices.map { index -> Double in
      let start = ((first + index) * test.kvHeads + head) * test.valueDimension
      let values = rotatedValues[start + group..<start + min(group + 64, test.valueDimension)]
      return Double(Float(Float16((values.map(\.magnitude).max() ?? 0) / 127)))
    }
    for tile in first / 64...(first + weights.count - 1) / 64 {
      let range = max(tile * 64 - first, 0)..<min(tile * 64 + 64 - first, weights.count)
      guard first + range.lowerBound < boundary else { continue }
      let largest = range.map { weights[$0] * scales[$0] }.max() ?? 0
      for index in range where scales[index] > 0 && largest > 0 {
        let number = (weights[index] * scales[index] * 32767 / largest).rounded(.toNearestOrEven)
        result[index] = number * largest / 32767 / scales[index]
      }
    }
    return result
  }

  private func unrotated(_ values: [Double]) -> [Double] {
    guard test.format.rotation == .both else { return values }
    return PlainCache.rotated(values.map(Float.init), test.valueDimension).map(Double.init)
  }
}
