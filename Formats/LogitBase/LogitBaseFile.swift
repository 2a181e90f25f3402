import SafeIO
import TensorCore

/// Log-probabilities of a base model over a text, in the file that llama-perplexity writes for KL divergence; mapped, so
/// that a window at a time is in memory.
public struct LogitBaseFile: Sendable {
  /// Windows, their length, the vocabulary.
  public let layout: LogitBaseLayout
  /// The tokens of all windows, `[chunkCount * contextLength]`, before any replacement by a beginning-of-sequence token.
  public let tokens: [Int32]
  private let region: MemoryRegion

  /// Maps a file and checks header and size.
  /// - Throws: ``LogitBaseError``.
  public init(path: String) throws(LogitBaseError) {
    let region: MemoryRegion
    do throws(SafeIOError) { region = try MappedFile.open(path) } catch { throw .io(error) }
    try self.init(region: region, file: path)
  }

  /// Looks at a file that is in memory already.
  /// - Throws: ``LogitBaseError``.
  public init(region: MemoryRegion, file: String) throws(LogitBaseError) {
    var reader = ByteReader(region, file: file)
    layout = try LogitBaseFile.layout(&reader, file: file)
    let expected: Int
    do throws(TensorCoreError) { expected = try layout.fileByteCount() } catch {
      throw .header(file: file, field: "sizes", expected: "sizes in range", found: error.diagnostic.message)
    }
    guard expected == region.byteCount else {
      throw .size(file: file, expected: expected, found: region.byteCount)
    }
    var tokens: [Int32] = []
    tokens.reserveCapacity(layout.chunkCount * layout.contextLength)
    do throws(SafeIOError) {
      for _ in 0..<layout.chunkCount * layout.contextLength { tokens.append(try reader.readLittleEndian()) }
    } catch { throw .io(error) }
    self.tokens = tokens
    self.region = region
    if let token = tokens.first(where: { $0 < 0 || $0 >= layout.vocabularyCount }) {
      throw .header(
        file: file, field: "tokens", expected: "0 to \(layout.vocabularyCount - 1)", found: "\(token)")
    }
  }

  private static func layout(_ reader: inout ByteReader, file: String) throws(LogitBaseError)
    -> LogitBaseLayout
  {
    var fields: [Int] = []
    do throws(SafeIOError) {
      guard try reader.readBytes(8) == LogitBaseLayout.magic else {
        throw SafeIOError.malformed(file: file, offset: 0, problem: "not a file of base log-probabilities")
      }
      for _ in 0..<3 { fields.append(Int(try reader.readLittleEndian(Int32.self))) }
    } catch { throw .io(error) }
    return try LogitBaseLayout(
      contextLength: fields[0], vocabularyCount: fields[1], chunkCount: fields[2], file: file)
  }

  /// The tokens of one window.
  public func tokens(chunk: Int) -> ArraySlice<Int32> {
    tokens[chunk * layout.contextLength..<(chunk + 1) * layout.contextLength]
  }

  /// Natural log-probabilities of the whole vocabulary for one scored position; off by at most half of 1/65535 of
  /// the row's range, and clamped at 16 below the most probable token.
  public func logProbabilities(chunk: Int, row: Int) -> [Float] {
    var values = [Float](repeating: 0, count: layout.vocabularyCount)
    readLogProbabilities(chunk: chunk, row: row, into: &values)
    return values
  }

  /// Writes what ``logProbabilities(chunk:row:)`` returns over the start of `values`, which must hold the vocabulary.
  public func readLogProbabilities(chunk: Int, row: Int, into values: inout [Float]) {
    precondition((0..<layout.chunkCount).contains(chunk) && (0..<layout.rowsPerChunk).contains(row))
    precondition(values.count >= layout.vocabularyCount)
    let start = layout.rowsOffset + 2 * layout.wordsPerRow * (chunk * layout.rowsPerChunk + row)
    unsafe region.withBytes { bytes in
      let scale = Float(bitPattern: unsafe bytes.loadUnaligned(fromByteOffset: start, as: UInt32.self))
      let minimum = Float(bitPattern: unsafe bytes.loadUnaligned(fromByteOffset: start + 4, as: UInt32.self))
      for index in 0..<layout.vocabularyCount {
        let code = unsafe bytes.loadUnaligned(fromByteOffset: start + 8 + 2 * index, as: UInt16.self)
        values[index] = scale * Float(code) + minimum
      }
    }
  }
}
