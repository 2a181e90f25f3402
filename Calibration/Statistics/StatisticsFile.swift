import OrderedCollections
import SafeIO
import Safetensors
import TensorCore

/// Statistics of a model's inputs as an artifact: made once, used by every method, merged across corpora.
///
/// A safetensors file. For each group of layers that read the same values, named after its first weight `W`:
/// `W.square_sums` F64 `[in]`, `W.maxima` F32 `[in]`, `W.tokens` I64 `[1]`, for experts that borrowed some `W.borrowed_tokens` I64 `[1]` (of those tokens), and when asked for
/// `W.second_moment_sum` F32 `[in, in]`.
/// The metadata say which weights belong to which group, and what was read.
public struct StatisticsFile: Sendable {
  /// Statistics by name of the group.
  public internal(set) var groups: OrderedDictionary<String, StoredStatistics>
  /// Name of the group of each weight.
  public internal(set) var groupOfWeight: OrderedDictionary<String, String>
  /// Windows that were read.
  public private(set) var windowCount: Int
  /// Tokens that were read.
  public private(set) var tokenCount: Int
  /// Digest of the model's weights.
  public let modelDigest: String
  /// Digests of the windows that were read, one a run that went into the file.
  public internal(set) var corpusDigests: [String]

  /// Statistics of one group, in memory or still in the file.
  public enum StoredStatistics: Sendable {
    /// In memory.
    case values(InputStatistics)
    /// Tensors of a mapped file: `square_sums`, `maxima`, `tokens`, `borrowed_tokens`, `second_moment_sum`.
    case tensors([String: Tensor])
  }

  /// An empty file for a model.
  public init(modelDigest: String, windowCount: Int, tokenCount: Int, corpusDigests: [String]) {
    groups = [:]
    groupOfWeight = [:]
    self.modelDigest = modelDigest
    self.windowCount = windowCount
    self.tokenCount = tokenCount
    self.corpusDigests = corpusDigests
  }

  /// Adds what was seen of the inputs of a group of weights.
  public mutating func add(_ statistics: InputStatistics, weights: [String]) {
    guard let key = weights.first else { return }
    groups[key] = .values(statistics)
    for weight in weights { groupOfWeight[weight] = key }
  }

  /// What was seen of a weight's inputs; nil when the weight is unknown.
  /// - Throws: `TensorCoreError`.
  public func statistics(for weight: String) throws -> InputStatistics? {
    guard let key = groupOfWeight[weight], let stored = groups[key] else { return nil }
    return try stored.load()
  }

  /// Adds what another run of the same model saw.
  /// - Throws: ``CalibrationError/statisticsMismatch(reason:)``, `TensorCoreError` when counts overflow.
  public func merged(with other: StatisticsFile) throws -> StatisticsFile {
    guard other.modelDigest == modelDigest else {
      throw CalibrationError.statisticsMismatch(reason: "the files were made with different models")
    }
    guard Set(other.groupOfWeight.keys) == Set(groupOfWeight.keys) else {
      throw CalibrationError.statisticsMismatch(reason: "the files cover different weights")
    }
    var result = self
    result.windowCount = try Checked.sum(windowCount, other.windowCount)
    result.tokenCount = try Checked.sum(tokenCount, other.tokenCount)
    result.corpusDigests += other.corpusDigests
    for (key, stored) in groups {
      var statistics = try stored.load()
      guard let second = try other.statistics(for: key) else {
        throw CalibrationError.statisticsMismatch(reason: "'\(key)' is in one file only")
      }
      try statistics.merge(second)
      result.groups[key] = .values(statistics)
    }
    return result
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
