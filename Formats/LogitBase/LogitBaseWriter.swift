import SafeIO
import TensorCore

/// Writes a file of base log-probabilities, row by row.
public enum LogitBaseWriter {
  /// Writes a file that appears whole or not at all.
  /// - Parameters:
  ///   - tokens: `chunkCount * contextLength` tokens, before any replacement by a beginning-of-sequence token.
  ///   - body: calls its argument with the logits of each scored position, window by window.
  /// - Throws: ``LogitBaseError`` when the rows are not as many as announced, when one does not have a logit for each
  ///   token of the vocabulary, or when a logit is NaN or positive infinity; `SafeIOError`; and what `body` throws.
  public static func write(
    to path: String, layout: LogitBaseLayout, tokens: [Int32],
    _ body: (_ append: ([Float]) throws -> Void) throws -> Void
  ) throws {
    guard tokens.count == layout.chunkCount * layout.contextLength else {
      throw LogitBaseError.header(
        file: path, field: "tokens", expected: "\(layout.chunkCount * layout.contextLength)",
        found: "\(tokens.count)")
    }
    try AtomicFile.write(to: path, byteCount: layout.fileByteCount()) { file in
      try writeHeader(layout, tokens, to: &file)
      let expected = layout.rowsPerChunk * layout.chunkCount
      var count = 0
      try body { logits in
        guard count < expected else { throw LogitBaseError.rowCount(expected: expected, found: count + 1) }
        try file.write(try bytes(logits, layout, index: count))
        count += 1
      }
      guard count == expected else { throw LogitBaseError.rowCount(expected: expected, found: count) }
    }
  }

  private static func writeHeader(
    _ layout: LogitBaseLayout, _ tokens: [Int32], to file: inout FileWriter
  ) throws(SafeIOError) {
    try file.write(LogitBaseLayout.magic)
    for field in [layout.contextLength, layout.vocabularyCount, layout.chunkCount] {
      try file.writeLittleEndian(Int32(truncatingIfNeeded: field))
    }
    for token in tokens { try file.writeLittleEndian(token) }
  }

  private static func bytes(
    _ logits: [Float], _ layout: LogitBaseLayout, index: Int
  ) throws(LogitBaseError) -> [UInt8] {
    guard logits.count == layout.vocabularyCount else {
      throw .row(index: index, problem: "\(logits.count) logits for \(layout.vocabularyCount) tokens")
    }
    guard let row = LogitBaseRow(logits: logits) else {
      throw .row(index: index, problem: "a logit is not finite")
    }
    var words: [UInt16] = []
    words.reserveCapacity(layout.wordsPerRow)
    for bits in [row.scale.bitPattern, row.minimum.bitPattern] {
      words.append(UInt16(truncatingIfNeeded: bits))
      words.append(UInt16(truncatingIfNeeded: bits >> 16))
    }
    words += row.codes
    if layout.vocabularyCount % 2 == 1 { words.append(0) }
    return words.flatMap { [UInt8(truncatingIfNeeded: $0), UInt8(truncatingIfNeeded: $0 >> 8)] }
  }
}
