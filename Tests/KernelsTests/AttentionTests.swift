import Codecs
import Glibc
import Kernels
import TestSupport
import Testing

/// Attention against softmax in double, and bit for bit across instruction sets, threads and batches.
struct AttentionTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var heads = 4
    var kvHeads = 2
    var dimension = 16
    var values: Int?
    var hasSinks = false
    var keys = 40
    var queries = 40
    var window = 0
    var softcap: Float = 0
    var valueDimension: Int { values ?? dimension }
    var testDescription: String {
      "values \(valueDimension), sinks \(hasSinks), \(heads)/\(kvHeads) heads of \(dimension), \(queries) of \(keys), window \(window), cap \(softcap)"
    }
  }

  static let cases = [
    Case(), Case(heads: 1, kvHeads: 1, dimension: 8, keys: 1, queries: 1),
    Case(keys: 255, queries: 1), Case(keys: 256, queries: 1), Case(keys: 257, queries: 3),
    Case(keys: 64, queries: 64), Case(keys: 65, queries: 2), Case(keys: 300, queries: 60),
    Case(heads: 6, kvHeads: 2, dimension: 48, keys: 130, queries: 130),
    Case(heads: 3, kvHeads: 3, dimension: 20, keys: 70, queries: 70, window: 16),
    Case(heads: 8, kvHeads: 1, dimension: 32, keys: 290, queries: 35, window: 100),
    Case(values: 24), Case(heads: 4, kvHeads: 4, dimension: 40, values: 7, keys: 300, queries: 60),
    Case(heads: 8, kvHeads: 2, hasSinks: true, keys: 150),
    Case(dimension: 24, values: 16, hasSinks: true, window: 9),
    Case(keys: 200, queries: 5, window: 1), Case(keys: 90, queries: 30, softcap: 5),
  ]

  struct Data {
    let q: [Float]
    let k: [Float]
    let v: [Float]
    let sinks: [Float]

    init(_ test: Case) {
      var generator = SeededGenerator(seed: 30)
      q = generator.normals(test.keys * test.heads * test.dimension).map { $0 * 3 }
      k = generator.normals(test.keys * test.kvHeads * test.dimension)
      v = generator.normals(test.keys * test.kvHeads * test.valueDimension)
      sinks = generator.normals(test.heads).map { $0 * 2 }
    }
  }

  static let scale: Float = 0.3

  /// Appends keys and values in unequal parts, then asks for the last queries.
  static func run(_ table: KernelTable, _ test: Case, _ data: Data, _ element: KVElement, threads: Int = 1)
    -> [Float]
  {
    let pool = ThreadPool(threadCount: threads, isPinned: false)
    let cache = KVPages(
      heads: test.kvHeads, headDimension: test.dimension, valueDimension: test.values,
      format: KVFormat(keys: element))
    let width = test.kvHeads * test.dimension
    let values = test.kvHeads * test.valueDimension
    var start = 0
    for part in [5, 1, 50, Int.max] {
      let end = min(test.keys, part == Int.max ? test.keys : start + part)
      guard end > start else { continue }
      let k = RowBuffer(Array(data.k[start * width..<end * width]), rows: end - start, columns: width)
      let v = RowBuffer(
        Array(data.v[start * values..<end * values]), rows: end - start, columns: values, padding: 1)
      unsafe table.appendKV(k: k.view, v: v.view, to: cache, pool: pool)
      start = end
    }
    let columns = test.heads * test.dimension
    let q = RowBuffer(
      Array(data.q[(test.keys - test.queries) * columns..<test.keys * columns]), rows: test.queries,
      columns: columns)
    let y = RowBuffer(rows: test.queries, columns: test.heads * test.valueDimension, padding: 3)
    unsafe data.sinks.withUnsafeBufferPointer { sinks in
      unsafe table.attention(
        q.view, cache: cache, heads: test.heads, scale: scale, window: test.window, softcap: test.softcap,
        sinks: test.hasSinks ? sinks.baseAddress : nil, into: y.view, workspace: Workspace(), pool: pool)
    }
    #expect(y.isGuarded)
    return y.values
  }

  static func reference(_ test: Case, _ data: Data, _ element: KVElement) -> [Double] {
    func stored(_ value: Float) -> Double { element == .f32 ? Double(value) : Double(Float16(value)) }
    var y: [Double] = []
    for query in test.keys - test.queries..<test.keys {
      for head in 0..<test.heads {
        let kvHead = head / (test.heads / test.kvHeads)
        let first = test.window > 0 ? max(0, query - test.window + 1) : 0
        let logits = (first...query).map { key -> Double in
          var dot = 0.0
          for d in 0..<test.dimension {
            dot +=
              Double(data.q[(query * test.heads + head) * test.dimension + d])
              * stored(data.k[(key * test.kvHeads + kvHead) * test.dimension + d])
          }
          let logit = dot * Double(scale)
          return test.softcap > 0 ? Double(test.softcap) * tanh(logit / Double(test.softcap)) : logit
        }
        let largest = logits.max() ?? 0
        let weights = logits.map { exp($0 - largest) }
        let total = weights.reduce(0, +) + (test.hasSinks ? exp(Double(data.sinks[head]) - largest) : 0)
        for d in 0..<test.valueDimension {
          var sum = 0.0
          for (index, weight) in weights.enumerated() {
            sum +=
              weight * stored(data.v[((first + index) * test.kvHeads + kvHead) * test.valueDimension + d])
          }
          y.append(sum / total)
        }
      }
    }
    return y
  }

  @Test(arguments: instructionSets, cases)
  func matchesSoftmax(set: InstructionSet, test: Case) throws {
    let table = try table(set)
    let data = Data(test)
    for element in [KVElement.f32, .f16] {
      let found = AttentionTests.run(table, test, data, element)
      let expected = AttentionTests.reference(test, data, element)
      let error = zip(found, expected).map { abs(Double($0) - $1) }.max() ?? 0
      #expect(error < 2e-5, "\(element)")
      #expect(bits(found) == bits(AttentionTests.run(KernelTable.available[0], test, data, element)))
      #expect(bits(found) == bits(AttentionTests.run(table, test, data, element, threads: 2)))
      var single = test
      single.queries = 1
      let last = AttentionTests.run(table, single, data, element)
      #expect(bits(last) == bits(Array(found[(found.count - last.count)...])))
    }
  }

  static let formats =
    KVElement.allCases.map { KVFormat(keys: $0) } + [
      KVFormat(keys: .int4, rotation: .both, recent: 3), KVFormat(keys: .int8, keyScales: .channel),
    ]

  @Test(arguments: instructionSets, formats)
  func truncationForgets(set: InstructionSet, format: KVFormat) throws {
    let table = try table(set)
    let pool = ThreadPool(threadCount: 1)
    var generator = SeededGenerator(seed: 31)
    let cache = KVPages(heads: 1, headDimension: 16, format: format)
    let fresh = KVPages(heads: 1, headDimension: 16, format: format)
    let first = RowBuffer(generator.normals(300 * 16), rows: 300, columns: 16)
    let poison = RowBuffer([Float](repeating: .nan, count: 300 * 16), rows: 300, columns: 16)
    let next = RowBuffer(generator.normals(16), rows: 1, columns: 16)
    unsafe cache.append(table, first.view.rows(0..<20), pool)
    unsafe cache.append(table, poison.view, pool)
    cache.truncate(to: 20)
    unsafe cache.append(table, next.view, pool)
    unsafe fresh.append(table, first.view.rows(0..<20), pool)
    unsafe fresh.append(table, next.view, pool)
    #expect(cache.count == 21)
    func ask(_ cache: KVPages) -> [Float] {
      let y = RowBuffer(rows: 1, columns: 16)
      unsafe table.attention(
        next.view, cache: cache, heads: 1, scale: 1, into: y.view, workspace: Workspace(), pool: pool)
      return y.values
    }
    #expect(bits(ask(cache)) == bits(ask(fresh)))
    let isFinite = ask(cache).allSatisfy(\.isFinite)
    #expect(isFinite)
  }
}

extension KVPages {
  /// Appends rows as keys and as values.
  func append(_ table: KernelTable, _ rows: Rows, _ pool: ThreadPool) {
    unsafe table.appendKV(k: rows, v: rows, to: self, pool: pool)
  }
}
