import Calibration
import Kernels
import OrderedCollections
import SafeIO
import Safetensors
import TensorCore
import TestSupport
import Testing

@Suite struct StatisticsFileTests {
  private func statistics(columns: Int, rows: Int, seed: UInt64, secondMoment: Bool = true) -> InputStatistics
  {
    var generator = SeededGenerator(seed: seed)
    return statistics([generator.normals(rows * columns)], columns: columns, secondMoment: secondMoment)
  }

  private func statistics(_ windows: [[Float]], columns: Int, secondMoment: Bool = true) -> InputStatistics {
    var observer = InputObserver(columns: columns, withSecondMoment: secondMoment)
    let pool = ThreadPool(threadCount: 1, isPinned: false)
    for window in windows {
      #expect(unsafe window.withUnsafeBufferPointer { unsafe observer.observe($0, pool: pool) })
    }
    return observer.total
  }

  private func sample(seed: UInt64 = 1, model: String = "ab", tokens: Int = 18) -> StatisticsFile {
    var file = StatisticsFile(
      modelDigest: model,
      segments: [0..<2, 2..<5].map { WindowSegment(corpus: "c\(seed)", windows: $0) }, tokenCount: tokens)
    let seeds = [seed, seed + 100]
    file.add(seeds.map { statistics(columns: 6, rows: 9, seed: $0) }, weights: ["q", "k", "v"])
    file.add(
      seeds.map { statistics(columns: 4, rows: 9, seed: $0 + 50, secondMoment: false) },
      weights: ["o \"x\""])
    return file
  }

  @Test func whatIsWrittenIsRead() throws {
    let directory = TemporaryDirectory()
    let file = sample()
    try file.write(to: directory.file("a"))
    try file.write(to: directory.file("b"))
    #expect(StatisticsFile.isStatistics(path: directory.file("a")))
    let read = try StatisticsFile(path: directory.file("a"))
    #expect(
      read.modelDigest == "ab" && read.windowCount == 5 && read.segments == file.segments
        && read.tokenCount == 18)
    #expect(read.corpusDigests == ["c1"])
    #expect(read.groupOfWeight == ["q": "q", "k": "q", "v": "q", "o \"x\"": "o \"x\""])
    for weight in ["q", "k", "v", "o \"x\""] {
      let expected = try #require(try file.statistics(for: weight))
      #expect(try read.statistics(for: weight) == expected)
    }
    #expect(try read.statistics(for: "unknown") == nil)
    try read.write(to: directory.file("c"))
    let bytes = try FileReading.readAll(directory.file("a"), limit: 1 << 20)
    for copy in ["b", "c"] { #expect(try FileReading.readAll(directory.file(copy), limit: 1 << 20) == bytes) }
  }

  @Test func mergedFilesAreARunOverBoth() throws {
    var generator = SeededGenerator(seed: 12)
    let windows = [5, 8, 3].map { generator.normals($0 * 6) }
    var (first, second) = (
      StatisticsFile(
        modelDigest: "m", segments: [WindowSegment(corpus: "x", windows: 0..<1)], tokenCount: 5),
      StatisticsFile(
        modelDigest: "m", segments: [WindowSegment(corpus: "y", windows: 0..<2)], tokenCount: 11)
    )
    first.add([statistics([windows[0]], columns: 6)], weights: ["q", "k"])
    second.add([statistics(Array(windows[1...]), columns: 6)], weights: ["q", "k"])
    let directory = TemporaryDirectory()
    try second.write(to: directory.file("second"))
    let merged = try first.merged(with: StatisticsFile(path: directory.file("second")))
    #expect(merged.windowCount == 3 && merged.tokenCount == 16 && merged.corpusDigests == ["x", "y"])
    let found = try #require(try merged.statistics(for: "k"))
    let whole = statistics(windows, columns: 6)
    #expect(found.tokenCount == whole.tokenCount && found.maxima == whole.maxima)
    for (a, b) in zip(found.squareSums, whole.squareSums) { #expect(abs(a - b) <= 1e-12 * b) }
    let (sums, expected) = (try #require(found.secondMomentSum), try #require(whole.secondMomentSum))
    for (a, b) in zip(sums, expected) { #expect(abs(a - b) <= 1e-5) }
  }

  @Test func filesThatDoNotBelongTogetherAreNotMerged() throws {
    var fewer = StatisticsFile(
      modelDigest: "ab", segments: [WindowSegment(corpus: "c2", windows: 0..<1)], tokenCount: 1)
    fewer.add([statistics(columns: 6, rows: 2, seed: 1)], weights: ["q", "k", "v"])
    var wider = sample(seed: 2)
    wider.add(
      [1, 2].map { statistics(columns: 5, rows: 2, seed: $0, secondMoment: false) }, weights: ["o \"x\""])
    // The last was made from windows that the other has read as well.
    for other in [sample(seed: 2, model: "other"), fewer, wider, sample()] {
      #expect(throws: CalibrationError.self) { try sample().merged(with: other) }
    }
    #expect(try sample().merged(with: sample(seed: 2)).segments.count == 4)
    #expect(throws: (any Error).self) { try sample().merged(with: sample(seed: 2, tokens: Int.max)) }
  }

  /// Statistics of some windows of a corpus, as a calibration run makes them.
  private func run(_ windows: [[Float]], _ part: CalibrationWindows) throws -> StatisticsFile {
    let segment = part.segment(of: "corpus")
    let pool = ThreadPool(threadCount: 1, isPinned: false)
    var file: StatisticsFile?
    for (columns, name) in [(6, "a"), (3, "b")] {
      var observer = InputObserver(columns: columns, withSecondMoment: true, bySegmentsOf: segment)
      for number in segment.windows {
        // What an expert sees: nothing of many windows.
        guard name == "a" || number % 23 == 5 else { continue }
        try observer.reach(window: number)
        #expect(
          unsafe windows[number].withUnsafeBufferPointer { unsafe observer.observe($0, pool: pool) })
      }
      let observed = try observer.finish()
      file =
        file
        ?? StatisticsFile(
          modelDigest: "m", segments: observed.segments.map(\.segment),
          tokenCount: segment.windows.count)
      #expect(file?.segments == observed.segments.map(\.segment))
      file?.add(observed.segments.map(\.statistics), weights: [name])
    }
    return try #require(file)
  }

  /// Parts of a corpus that several machines read, merged in any order, are the file of one run over all.
  @Test(arguments: [16, 37, 64, 100, 128, 200])
  func partsMergeToTheBytesOfOneRun(count: Int) throws {
    let seed = UInt64(count)
    var generator = SeededGenerator(seed: seed)
    let windows = (0..<count).map { _ in generator.normals(6 * Int.random(in: 1...4, using: &generator)) }
    let tokens = CalibrationWindows(windows: windows.map { _ in [0] })
    let directory = TemporaryDirectory()
    try run(windows, tokens).write(to: directory.file("whole"))
    let whole = try FileReading.readAll(directory.file("whole"), limit: 1 << 24)
    for parts in 1...7 {
      var files = try (0..<parts).map { tokens.part($0, of: parts) }.filter { !$0.windows.isEmpty }
        .map { try run(windows, $0) }
      #expect(files.reduce(0) { $0 + $1.windowCount } == count)
      files.shuffle(using: &generator)
      let merged = try files.dropFirst().reduce(files[0]) { try $0.merged(with: $1) }
      try merged.write(to: directory.file("merged"))
      #expect(
        try FileReading.readAll(directory.file("merged"), limit: 1 << 24) == whole,
        "\(parts) parts of \(count) windows, seed \(seed)")
    }
  }

  /// Writes the sample's tensors and metadata after a change.
  private func altered(
    _ directory: TemporaryDirectory,
    _ change: (inout OrderedDictionary<String, Tensor>, inout OrderedDictionary<String, String>) throws ->
      Void
  ) throws -> String {
    try sample().write(to: directory.file("good"))
    let good = try SafetensorsFile(path: directory.file("good"))
    var (tensors, metadata) = (good.tensors, good.metadata)
    try change(&tensors, &metadata)
    try SafetensorsWriter.write(tensors, metadata: metadata, to: directory.file("altered"))
    return directory.file("altered")
  }

  @Test func foreignFilesAreRefused() throws {
    let directory = TemporaryDirectory()
    let path = directory.file("plain")
    try SafetensorsWriter.write(["w": try Tensor([Float(1)], shape: [1])], to: path)
    #expect(!StatisticsFile.isStatistics(path: path))
    let error = try #require(throws: CalibrationError.self) { try StatisticsFile(path: path) }
    #expect(error.diagnostic.code == "calibration.bad-statistics")
    #expect(error.diagnostic.file == path)
    let text = directory.write(Array("no statistics at all".utf8), to: "text")
    #expect(!StatisticsFile.isStatistics(path: text))
    #expect(throws: (any Error).self) { try StatisticsFile(path: text) }
    #expect(throws: (any Error).self) { try StatisticsFile(path: directory.file("missing")) }
  }

  @Test(
    arguments: [
      ("version", "1"), ("segments", "c:0--1"), ("segments", "c:3-1"), ("segments", ""), ("segments", nil),
      ("segments", "c:0-1,c:2-4,c:5-6"), ("segments", "c:0-99999999999999999999"),
      ("tokens", "x"), ("weights", "[]"), ("weights", "{\"q\": 1}"),
      ("weights", "{"), ("weights", "{\"q\": \"absent\"}"), ("format", "pt"), ("model_sha256", nil),
      ("weights", nil), ("tokens", "99999999999999999999"),
    ])
  func damagedMetadataAreRefused(key: String, value: String?) throws {
    let directory = TemporaryDirectory()
    let path = try altered(directory) { _, metadata in metadata[key] = value }
    #expect(throws: (any Error).self) { try StatisticsFile(path: path) }
  }

  @Test func damagedTensorsAreRefused() throws {
    let directory = TemporaryDirectory()
    let short = try Tensor([Float](repeating: 1, count: 5), shape: [5])
    let changes: [(String, Tensor?)] = [
      ("q.square_sums", nil), ("q.maxima", nil), ("q.tokens", nil), ("q.square_sums", short),
      ("q.maxima", short),
      ("q.tokens", short), ("q.second_moment_sum", short), ("q#1.maxima", short),
      ("q#1.second_moment_sum", nil),
      ("q.second_moment_sum", try Tensor([Float](repeating: 1, count: 36), shape: [36])),
      ("q.tokens", try Tensor(bytes: [UInt8](repeating: 255, count: 8), elementType: .i64, shape: [1])),
    ]
    for (name, tensor) in changes {
      let path = try altered(directory) { tensors, _ in tensors[name] = tensor }
      let error = try #require(throws: CalibrationError.self) { try StatisticsFile(path: path) }
      #expect(error.diagnostic.code == "calibration.bad-statistics", "\(name)")
    }
  }

  @Test func randomDamageNeverTraps() throws {
    let directory = TemporaryDirectory()
    try sample().write(to: directory.file("good"))
    let good = try FileReading.readAll(directory.file("good"), limit: 1 << 20)
    let seed: UInt64 = 4242
    var generator = SeededGenerator(seed: seed)
    var refused = 0
    for _ in 0..<400 {
      var bytes = good
      for _ in 0..<Int.random(in: 1...3, using: &generator) {
        bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(
          in: 0...255, using: &generator)
      }
      if Bool.random(using: &generator) {
        bytes.removeLast(Int.random(in: 0..<bytes.count, using: &generator))
      }
      let path = directory.write(bytes, to: "damaged")
      do {
        let file = try StatisticsFile(path: path)
        for weight in file.groupOfWeight.keys { _ = try file.statistics(for: weight) }
        _ = try sample().merged(with: file)
      } catch { refused += 1 }
    }
    #expect(refused > 100, "seed \(seed)")
  }
}
