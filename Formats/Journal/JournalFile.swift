import OrderedCollections
import SafeIO
import TensorCore

/// A file of records, each whole or not there: what long work has finished so far.
public final class JournalFile {
  /// The first bytes of a file; the last one is the version.
  static let magic = Array("ADZEJRN1".utf8)
  /// Bytes before the body of a record: its length and its SHA-256.
  static let preambleByteCount = 8 + 32

  private let file: AppendOnlyFile
  /// Records that were there when the file was opened, in the order in which they were written.
  public let records: [JournalRecord]
  /// Whether the end was cut short, as it is when a run is killed while it writes a record; it has been removed.
  public let hadTornEnd: Bool

  /// Opens the journal at `path`, or begins one, and takes it for this process.
  /// - Throws: ``JournalError``.
  public init(path: String) throws(JournalError) {
    do throws(SafeIOError) { file = try AppendOnlyFile(path: path) } catch { throw .io(error) }
    let contents = try JournalContents(path: path)
    records = contents.records
    hadTornEnd = contents.hasTornEnd
    do {
      try file.keep(contents.byteCount)
      if contents.byteCount == 0 { try file.append { try $0.write(JournalFile.magic) } }
    } catch { throw JournalError(error, file: path) }
  }

  /// Adds a record; when this returns, it is on the disk.
  /// - Throws: ``JournalError``.
  public func append(_ record: JournalRecord) throws(JournalError) {
    let head = record.head
    let byteCount = record.tensors.values.reduce(4 + head.count) { $0 + $1.byteCount }
    let length = (0..<4).map { UInt8(truncatingIfNeeded: head.count >> ($0 * 8)) }
    var checksum = Checksum()
    checksum.update(length + head)
    for tensor in record.tensors.values { unsafe tensor.withBytes { unsafe checksum.update($0) } }
    let digest = checksum.finish()
    do {
      try file.append { writer in
        try writer.writeLittleEndian(UInt64(byteCount))
        try writer.write(digest.bytes)
        try writer.write(length + head)
        for tensor in record.tensors.values { try writer.write(tensor) }
      }
    } catch { throw JournalError(error, file: file.path) }
  }

  /// Removes the file: what it helped to make is whole.
  public func remove() { file.remove() }
}

/// What the file of a journal holds.
struct JournalContents {
  private(set) var records: [JournalRecord] = []
  /// Bytes of the magic and of all whole records; 0 when not even the magic is whole.
  private(set) var byteCount = 0
  let hasTornEnd: Bool

  /// Reads the records up to the first that is not whole.
  ///
  /// The last record may be whole in length and yet not in its bytes, when the machine stopped before they reached the
  /// disk. Such a record is a torn end; one with others after it is damage.
  /// - Throws: ``JournalError``.
  init(path: String) throws(JournalError) {
    let region: MemoryRegion
    do throws(SafeIOError) { region = try MappedFile.open(path) } catch { throw .io(error) }
    var reader = ByteReader(region, file: path)
    do {
      let start = try reader.readBytes(min(JournalFile.magic.count, region.byteCount))
      guard start.elementsEqual(JournalFile.magic.prefix(start.count)) else {
        throw JournalError.notAJournal(file: path, found: start.map { "\($0)" }.joined(separator: " "))
      }
      guard start.count == JournalFile.magic.count else {
        hasTornEnd = !start.isEmpty
        return
      }
      byteCount = reader.offset
      while reader.remaining >= JournalFile.preambleByteCount {
        let count = try reader.readLittleEndian(UInt64.self)
        let digest = try reader.readBytes(32)
        guard count <= UInt64(reader.remaining) else { break }
        let body = reader.offset..<reader.offset + Int(count)
        guard Checksum.sha256(region, range: body).bytes == digest else {
          guard body.upperBound == region.byteCount else {
            throw JournalError.damaged(
              file: path, offset: body.lowerBound, problem: "a record is not what was written")
          }
          break
        }
        records.append(try JournalRecord(body: body, of: region, file: path))
        try reader.skip(Int(count))
        byteCount = reader.offset
      }
    } catch { throw JournalError(error, file: path) }
    hasTornEnd = byteCount != region.byteCount
  }
}

extension JournalError {
  /// Keeps an error of this format, and wraps one from below.
  init(_ error: any Error, file: String) {
    switch error {
    case let error as JournalError: self = error
    case let error as SafeIOError: self = .io(error)
    default: self = .damaged(file: file, offset: 0, problem: "\(error)")
    }
  }
}
