import Glibc
import LogitBase
import SafeIO
import TensorCore
import TestSupport
import Testing

@Suite("Base log-probabilities") struct LogitBaseTests {
  private func logits(_ count: Int, seed: Int) -> [Float] {
    var generator = SeededGenerator(seed: UInt64(seed))
    return generator.normals(count).map { $0 * 4 }
  }

  private func logSoftmax(_ logits: [Float]) -> [Double] {
    let highest = Double(logits.max() ?? 0)
    let sum = logits.reduce(0) { $0 + exp(Double($1) - highest) }
    return logits.map { Double($0) - highest - log(sum) }
  }

  @Test("rounds to the nearest of 65536 steps", arguments: 0..<20) func row(seed: Int) throws {
    let logits = logits(101, seed: seed)
    let row = try #require(LogitBaseRow(logits: logits))
    for (index, exact) in logSoftmax(logits).enumerated() {
      let stored = row.scale * Float(row.codes[index]) + row.minimum
      let clamped = max(exact, Double(row.minimum))
      #expect(abs(Double(stored) - clamped) <= Double(row.scale) * 0.51 + 1e-5, "seed \(seed)")
    }
    #expect(row.codes.max() == 65535)
    #expect(row.codes.min() == 0)
  }

  @Test("clamps at 16 below the largest logit") func clamp() throws {
    let row = try #require(LogitBaseRow(logits: [0, -100, -.infinity, -16, -8]))
    #expect(row.codes[0] == 65535)
    #expect(row.codes[1] == 0 && row.codes[2] == 0 && row.codes[3] == 0)
    #expect(abs(Int(row.codes[4]) - 32768) <= 1)
    #expect(abs(row.scale - 16 / 65535) < 1e-9)
    let flat = try #require(LogitBaseRow(logits: [3, 3, 3]))
    #expect(flat.scale == 0 && flat.codes == [0, 0, 0])
    #expect(abs(flat.minimum + logf(3)) < 1e-6)
    #expect(LogitBaseRow(logits: [0, .nan]) == nil)
    #expect(LogitBaseRow(logits: [0, .infinity]) == nil)
    #expect(LogitBaseRow(logits: [-.infinity, -.infinity]) == nil)
    #expect(LogitBaseRow(logits: []) == nil)
  }

  private func write(
    _ path: String, context: Int = 9, vocabulary: Int = 7, chunks: Int = 2
  ) throws -> (LogitBaseLayout, [Int32]) {
    let layout = try LogitBaseLayout(contextLength: context, vocabularyCount: vocabulary, chunkCount: chunks)
    let tokens = (0..<context * chunks).map { Int32($0 % vocabulary) }
    try LogitBaseWriter.write(to: path, layout: layout, tokens: tokens) { append in
      for index in 0..<layout.rowsPerChunk * chunks { try append(logits(vocabulary, seed: index)) }
    }
    return (layout, tokens)
  }

  @Test("gives back what it got", arguments: [7, 8]) func roundTrip(vocabulary: Int) throws {
    let directory = TemporaryDirectory()
    let (layout, tokens) = try write(directory.file("b"), vocabulary: vocabulary)
    let file = try LogitBaseFile(path: directory.file("b"))
    #expect(file.layout == layout)
    #expect(file.tokens == tokens)
    #expect(layout.rowsPerChunk == 4 && layout.firstScoredPosition == 4)
    #expect(Array(file.tokens(chunk: 1)) == Array(tokens[9...]))
    for chunk in 0..<2 {
      for row in 0..<4 {
        let exact = logSoftmax(logits(vocabulary, seed: chunk * 4 + row))
        for (stored, wanted) in zip(file.logProbabilities(chunk: chunk, row: row), exact) {
          #expect(abs(Double(stored) - wanted) < 3e-4)
        }
      }
    }
    // 8 bytes of magic, three numbers, tokens, rows of 4 + 8 words.
    #expect(try FileReading.size(directory.file("b")) == 20 + 4 * 18 + 8 * 2 * 12)
  }

  @Test("lays bytes out as llama-perplexity does") func bytes() throws {
    let directory = TemporaryDirectory()
    let layout = try LogitBaseLayout(contextLength: 4, vocabularyCount: 3, chunkCount: 1)
    try LogitBaseWriter.write(to: directory.file("b"), layout: layout, tokens: [2, 1, 0, 2]) {
      try $0([0, -16, -8])
    }
    let row = try #require(LogitBaseRow(logits: [0, -16, -8]))
    var expected = Array("_logits_".utf8)
    for value in [4, 3, 1, 2, 1, 0, 2, row.scale.bitPattern, row.minimum.bitPattern] as [UInt32] {
      expected += (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
    }
    for code in row.codes + [0] {
      expected += [UInt8(truncatingIfNeeded: code), UInt8(truncatingIfNeeded: code >> 8)]
    }
    #expect(try FileReading.readAll(directory.file("b")) == expected)
  }

  @Test("refuses rows that are wrong or too many or too few") func wrongRows() throws {
    let directory = TemporaryDirectory()
    let layout = try LogitBaseLayout(contextLength: 4, vocabularyCount: 3, chunkCount: 1)
    let bodies: [((([Float]) throws -> Void) throws -> Void)] = [
      { _ in }, { try $0([1, 2]) }, { try $0([1, 2, .nan]) },
      {
        try $0([1, 2, 3])
        try $0([1, 2, 3])
      },
    ]
    for body in bodies {
      #expect(throws: LogitBaseError.self) {
        try LogitBaseWriter.write(to: directory.file("b"), layout: layout, tokens: [0, 0, 0, 0], body)
      }
    }
    #expect(throws: LogitBaseError.self) {
      try LogitBaseWriter.write(to: directory.file("b"), layout: layout, tokens: [0]) { _ in }
    }
    #expect(directory.entries.isEmpty)
  }

  @Test("never traps on a damaged file") func damage() throws {
    let directory = TemporaryDirectory()
    _ = try write(directory.file("b"))
    let bytes = try FileReading.readAll(directory.file("b"))
    func open(_ bytes: [UInt8]) throws -> LogitBaseFile {
      try LogitBaseFile(region: MemoryRegion(copying: bytes), file: "b")
    }
    for length in 0..<bytes.count {
      #expect(throws: LogitBaseError.self) { try open(Array(bytes.prefix(length))) }
    }
    for index in 0..<20 + 4 * 18 {
      for bit in 0..<8 {
        var damaged = bytes
        damaged[index] ^= 1 << bit
        if let file = try? open(damaged) { _ = file.logProbabilities(chunk: 0, row: 0) }
      }
    }
    for fields in [
      [-1, 7, 2], [9, -1, 2], [9, 7, -1], [0, 7, 2], [1, 7, 2], [Int32.max, Int32.max, Int32.max],
    ] as [[Int32]] {
      var damaged = Array(bytes.prefix(8))
      for field in fields { damaged += (0..<4).map { UInt8(truncatingIfNeeded: field >> ($0 * 8)) } }
      #expect(throws: LogitBaseError.self) { try open(damaged + bytes.dropFirst(20)) }
    }
  }
}
