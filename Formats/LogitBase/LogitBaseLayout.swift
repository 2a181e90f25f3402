import SafeIO
import TensorCore

/// The numbers that fix the layout of a base file.
public struct LogitBaseLayout: Sendable, Equatable {
  /// The first eight bytes of a file.
  static let magic = Array("_logits_".utf8)

  /// Tokens of a window.
  public let contextLength: Int
  /// Tokens of the vocabulary.
  public let vocabularyCount: Int
  /// Windows.
  public let chunkCount: Int

  /// Checks the numbers.
  /// - Throws: ``LogitBaseError/header(file:field:expected:found:)``.
  public init(
    contextLength: Int, vocabularyCount: Int, chunkCount: Int, file: String = "base file"
  ) throws(LogitBaseError) {
    let fields = [
      ("n_ctx", contextLength, 2), ("n_vocab", vocabularyCount, 1), ("n_chunk", chunkCount, 1),
    ]
    for (name, value, least) in fields where value < least || value > Int(Int32.max) {
      throw .header(file: file, field: name, expected: "\(least) to \(Int32.max)", found: "\(value)")
    }
    self.contextLength = contextLength
    self.vocabularyCount = vocabularyCount
    self.chunkCount = chunkCount
  }

  /// First position of a window whose prediction is scored.
  public var firstScoredPosition: Int { contextLength / 2 }
  /// Rows of a window: row `r` predicts the token at ``firstScoredPosition`` + r + 1.
  public var rowsPerChunk: Int { contextLength - 1 - contextLength / 2 }
  /// 16-bit words of a row: scale, minimum, the codes, and a spare one when the vocabulary is odd.
  var wordsPerRow: Int { 2 * ((vocabularyCount + 1) / 2) + 4 }
  /// Offset of the first row.
  var rowsOffset: Int { 20 + 4 * contextLength * chunkCount }

  /// Bytes of the whole file.
  func fileByteCount() throws(TensorCoreError) -> Int {
    let tokens = try Checked.product([4, contextLength, chunkCount])
    let rows = try Checked.product([2, wordsPerRow, rowsPerChunk, chunkCount])
    return try Checked.sum(20, Checked.sum(tokens, rows))
  }
}
