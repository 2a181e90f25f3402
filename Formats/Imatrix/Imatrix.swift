import OrderedCollections
import TensorCore

/// What llama.cpp's tools keep of the inputs of a model's layers: for each weight, sums of squares and how many rows
/// went into them.
public struct Imatrix: Sendable, Equatable {
  /// What was seen of the inputs of one weight, or of the matrices of several experts.
  public struct Entry: Sendable, Equatable {
    /// Sums of squares of each input, matrix after matrix.
    public var squareSums: [Float]
    /// Rows that each matrix saw; in the legacy form, calls.
    public var counts: [Float]

    /// Takes the values.
    public init(squareSums: [Float], counts: [Float]) {
      self.squareSums = squareSums
      self.counts = counts
    }

    /// Inputs of a matrix.
    public var columnCount: Int { squareSums.count / max(counts.count, 1) }

    /// Takes one count for that of every matrix, as the legacy form has only one.
    mutating func spreadCount(over matrices: Int) {
      guard counts.count == 1, matrices > 1, squareSums.count % matrices == 0 else { return }
      counts = [Float](repeating: counts[0], count: matrices)
    }

    /// Mean squares of each input, matrix after matrix; 1 for matrices that saw nothing.
    public var importance: [Float] {
      let columns = columnCount
      return squareSums.indices.map { index in
        let count = counts[index / columns]
        return count > 0 ? squareSums[index] / count : 1
      }
    }
  }

  /// The two forms of files.
  public enum Form: String, Sendable, CaseIterable {
    /// A GGUF file.
    case gguf
    /// The `.dat` file of older tools.
    case legacy
  }

  /// Entries by the name of the weight in GGUF files, such as `blk.0.attn_q.weight`.
  public var entries: OrderedDictionary<String, Entry>
  /// Names of the texts that were read.
  public var datasets: [String]
  /// Windows that were read.
  public var chunkCount: Int
  /// Tokens of a window; nil when it came from the legacy form, which does not say.
  public var chunkSize: Int?

  /// Takes the values.
  public init(
    entries: OrderedDictionary<String, Entry>, datasets: [String], chunkCount: Int, chunkSize: Int?
  ) {
    self.entries = entries
    self.datasets = datasets
    self.chunkCount = chunkCount
    self.chunkSize = chunkSize
  }

  /// Adds what another run of the same model saw: sums, counts and windows add up. Where one of the two came from the
  /// legacy form, its calls are taken for windows of the other's length.
  /// - Throws: ``ImatrixError/mismatch(name:problem:)`` when a weight has different sizes.
  public func merged(with other: Imatrix) throws(ImatrixError) -> Imatrix {
    let size = chunkSize ?? other.chunkSize
    var result = scaled(to: size)
    for (name, entry) in other.scaled(to: size).entries {
      guard var sum = result.entries[name] else {
        result.entries[name] = entry
        continue
      }
      var entry = entry
      sum.spreadCount(over: entry.counts.count)
      entry.spreadCount(over: sum.counts.count)
      guard sum.squareSums.count == entry.squareSums.count, sum.counts.count == entry.counts.count else {
        throw .mismatch(
          name: name, problem: "\(sum.squareSums.count) and \(entry.squareSums.count) sums cannot be added")
      }
      for index in sum.squareSums.indices { sum.squareSums[index] += entry.squareSums[index] }
      for index in sum.counts.indices { sum.counts[index] += entry.counts[index] }
      result.entries[name] = sum
    }
    result.datasets += other.datasets.filter { !datasets.contains($0) }
    let (chunks, overflow) = chunkCount.addingReportingOverflow(other.chunkCount)
    guard !overflow else { throw .mismatch(name: "chunk_count", problem: "the numbers of windows overflow") }
    result.chunkCount = chunks
    return result
  }

  /// Sums and counts of rows instead of calls.
  private func scaled(to size: Int?) -> Imatrix {
    guard chunkSize == nil, let size else { return self }
    var result = self
    result.chunkSize = size
    result.entries = entries.mapValues { entry in
      Entry(
        squareSums: entry.squareSums.map { $0 * Float(size) }, counts: entry.counts.map { $0 * Float(size) })
    }
    return result
  }
}
