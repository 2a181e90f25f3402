import SafeIO
import TensorCore

/// The vocabulary file beside a llama2.c model: a piece and a score for each token.
public struct Llama2CVocabulary: Sendable, Equatable {
  /// Length of the longest piece in bytes, as the file says.
  public let maximumPieceByteCount: Int
  /// Bytes of each token's piece; special tokens are written out, such as `"\n<s>\n"`.
  public let pieces: [[UInt8]]
  /// Score of each token; the pair with the highest score is merged first.
  public let scores: [Float]

  /// Reads a file.
  /// - Parameter count: number of tokens, when the model says it; else all that the file holds.
  /// - Throws: ``Llama2CError``.
  public init(path: String, count: Int? = nil) throws(Llama2CError) {
    let bytes: [UInt8]
    do throws(SafeIOError) { bytes = try FileReading.readAll(path) } catch { throw .io(error) }
    try self.init(bytes: bytes, file: path, count: count)
  }

  /// Reads the bytes of a file.
  /// - Throws: ``Llama2CError``.
  public init(bytes: [UInt8], file: String = "vocabulary", count: Int? = nil) throws(Llama2CError) {
    var reader = ByteReader(bytes, file: file)
    var pieces: [[UInt8]] = []
    var scores: [Float] = []
    do throws(SafeIOError) {
      maximumPieceByteCount = Int(try reader.readLittleEndian(Int32.self))
      guard maximumPieceByteCount >= 0 else {
        throw SafeIOError.malformed(file: file, offset: 0, problem: "a negative length")
      }
      while reader.remaining > 0 {
        let start = reader.offset
        let score = try reader.readFloat()
        let length = Int(try reader.readLittleEndian(Int32.self))
        guard !score.isNaN, length >= 0 else {
          throw SafeIOError.malformed(
            file: file, offset: start,
            problem: "token \(pieces.count) has score \(score) and length \(length)")
        }
        pieces.append(try reader.readBytes(length))
        scores.append(score)
      }
    } catch {
      switch error {
      case .malformed(_, let offset, let problem):
        throw .vocabulary(file: file, offset: offset, problem: problem)
      default: throw .io(error)
      }
    }
    if let count, count != pieces.count {
      throw .vocabulary(
        file: file, offset: reader.offset,
        problem: "the model has \(count) tokens and the file \(pieces.count)")
    }
    self.pieces = pieces
    self.scores = scores
  }
}
