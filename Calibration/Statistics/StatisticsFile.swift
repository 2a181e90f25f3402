import OrderedCollections
import SafeIO
import Safetensors
import TensorCore

/// Statistics of a model's inputs as an artifact: made once, used by every method, merged across machines and corpora.
///
/// A safetensors file. For each group of layers that read the same values, named after its first weight `W`:
/// `W.square_sums` F64 `[in]`, `W.maxima` F32 `[in]`, `W.tokens` I64 `[1]`, for experts that borrowed some `W.borrowed_tokens`
/// I64 `[1]` (of those tokens), and when asked for `W.second_moment_sum` F32 `[in, in]`. Those are of the first segment of the
/// windows that were read; of segment `n` they are called `W#n.square_sums` and so on.
/// The metadata say which weights belong to which group, and which windows the segments are.
public struct StatisticsFile: Sendable {
  /// The windows that were read, by corpus and place in it.
  public private(set) var segments: [WindowSegment]
  /// Statistics of each segment by name of the group.
  public internal(set) var groups: OrderedDictionary<String, [StoredStatistics]>
  /// Name of the group of each weight.
  public internal(set) var groupOfWeight: OrderedDictionary<String, String>
  /// Tokens that were read.
  public private(set) var tokenCount: Int
  /// Digest of the model's weights.
  public let modelDigest: String

  /// Statistics of one group in one segment, in memory or still in the file.
  public enum StoredStatistics: Sendable {
    /// In memory.
    case values(InputStatistics)
    /// Tensors of a mapped file: `square_sums`, `maxima`, `tokens`, `borrowed_tokens`, `second_moment_sum`.
    case tensors([String: Tensor])
  }

  /// An empty file for a model.
  public init(modelDigest: String, segments: [WindowSegment], tokenCount: Int) {
    groups = [:]
    groupOfWeight = [:]
    self.modelDigest = modelDigest
    self.segments = segments
    self.tokenCount = tokenCount
  }

  /// Windows that were read.
  public var windowCount: Int { segments.reduce(0) { $0 + $1.windows.count } }

  /// Digests of the corpora that they are from; nothing is known of those of importance matrices.
  public var corpusDigests: [String] { Array(OrderedSet(segments.map(\.corpus).filter { !$0.isEmpty })) }

  /// Adds what was seen of the inputs of a group of weights, a value for each segment.
  public mutating func add(_ statistics: [InputStatistics], weights: [String]) {
    guard let key = weights.first else { return }
    groups[key] = statistics.map { .values($0) }
    for weight in weights { groupOfWeight[weight] = key }
  }

  /// What was seen of a weight's inputs; nil when the weight is unknown.
  /// - Throws: `TensorCoreError`.
  public func statistics(for weight: String) throws -> InputStatistics? {
    guard let key = groupOfWeight[weight], let stored = groups[key], let first = stored.first else {
      return nil
    }
    var total = try first.load()
    for other in stored.dropFirst() { try total.merge(other.load()) }
    return total
  }

  /// Adds what another run of the same model saw. Files of the parts of a corpus, merged in whatever order, are the file of
  /// one run over all of it, bit by bit, when the parts were cut at multiples of ``WindowSegment/leafLength``.
  /// - Throws: ``CalibrationError/statisticsMismatch(reason:)``, `TensorCoreError` when counts overflow.
  public func merged(with other: StatisticsFile) throws -> StatisticsFile {
    guard other.modelDigest == modelDigest else {
      throw CalibrationError.statisticsMismatch(reason: "the files were made with different models")
    }
    guard Set(other.groupOfWeight.keys) == Set(groupOfWeight.keys) else {
      throw CalibrationError.statisticsMismatch(reason: "the files cover different weights")
    }
    let order = try mergedOrder(with: other)
    var result = self
    result.tokenCount = try Checked.sum(tokenCount, other.tokenCount)
    for (key, stored) in groups {
      guard let name = other.groupOfWeight[key], let second = other.groups[name] else {
        throw CalibrationError.statisticsMismatch(reason: "'\(key)' is in one file only")
      }
      var stack = SegmentStack()
      for (segment, place) in order {
        let part = place < stored.count ? stored[place] : second[place - stored.count]
        try stack.push(segment, part.load())
      }
      let shapes = stack.items.map { [$0.statistics.columns, $0.statistics.secondMomentSum == nil ? 0 : 1] }
      guard Set(shapes).count <= 1 else {
        throw CalibrationError.statisticsMismatch(
          reason: "the files have other sizes, or other sums, of the inputs of '\(key)'")
      }
      result.segments = stack.items.map(\.segment)
      result.groups[key] = stack.items.map { .values($0.statistics) }
    }
    return result
  }

  /// The segments of both files in ascending order, each with its place in this file's list followed by the other's.
  private func mergedOrder(with other: StatisticsFile) throws(CalibrationError) -> [(WindowSegment, Int)] {
    let all = (segments + other.segments).enumerated().map { ($1, $0) }
      .sorted { ($0.0.corpus, $0.0.windows.lowerBound) < ($1.0.corpus, $1.0.windows.lowerBound) }
    for (one, next) in zip(all, all.dropFirst())
    where one.0.corpus == next.0.corpus && !one.0.corpus.isEmpty && one.0.windows.overlaps(next.0.windows) {
      throw .statisticsMismatch(
        reason: "both have read windows \(next.0.windows.lowerBound) to "
          + "\(min(one.0.windows.upperBound, next.0.windows.upperBound) - 1) of the same corpus")
    }
    return all
  }
}

extension StatisticsFile.StoredStatistics {
  func load() throws -> InputStatistics {
    switch self {
    case .values(let statistics): return statistics
    case .tensors(let tensors):
      guard let squares = tensors["square_sums"], let maxima = tensors["maxima"],
        let tokens = tensors["tokens"]
      else {
        throw CalibrationError.statisticsMismatch(reason: "a group lacks square_sums, maxima or tokens")
      }
      let columns = squares.shape.elementCount
      var statistics = InputStatistics(columns: columns, withSecondMoment: false)
      statistics.tokenCount = try tokens.integers().first.map { Int($0) } ?? 0
      statistics.borrowedTokenCount = try tensors["borrowed_tokens"]?.integers().first.map { Int($0) } ?? 0
      statistics.squareSums = unsafe squares.withBytes { bytes in
        (0..<columns).map { unsafe bytes.loadUnaligned(fromByteOffset: $0 * 8, as: Double.self) }
      }
      statistics.maxima = try maxima.floats()
      statistics.secondMomentSum = try tensors["second_moment_sum"]?.floats()
      return statistics
    }
  }
}
