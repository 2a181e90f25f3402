import OrderedCollections
import SafeIO
import TensorCore

/// Writes packed files: deterministic, atomic, one section in memory at a time.
public enum PackedWriter {
  /// Writes sections in the given order. The result depends on the arguments only: no time, no random numbers.
  /// - Parameter requiredFeatures: features of the content; those of the container are added.
  /// - Throws: ``PackedModelError``, `SafeIOError`, and what the sections throw; then `path` is as it was.
  public static func write(
    to path: String, metadata: JSONObject, requiredFeatures: [String] = [], sections: [PackedSectionInput]
  ) throws {
    try checkNames(sections, path)
    let draft = PackedHeaderDraft(metadata: metadata, requiredFeatures: requiredFeatures)
    let headerByteCount = draft.reservedByteCount(sections)
    guard headerByteCount <= Limits.standard.maxHeaderBytes else {
      throw SafeIOError.limit(
        file: path, what: "bytes of the header", limit: Limits.standard.maxHeaderBytes, found: headerByteCount
      )
    }
    try AtomicFile.write(to: path) { file in
      let start = [UInt8](repeating: 0, count: PackedHeader.preambleByteCount + headerByteCount)
      try file.write(start)
      var written: [PackedSectionDescriptor] = []
      for section in sections {
        try file.pad(toMultipleOf: PackedHeader.alignment)
        written.append(try write(section, to: &file, path: path))
      }
      let bytes = draft.bytes(written, headerByteCount: headerByteCount, fileByteCount: file.position)
      try file.overwrite(at: 0, with: bytes)
    }
  }

  private static func checkNames(_ sections: [PackedSectionInput], _ path: String) throws(PackedModelError) {
    var names: Set<String> = []
    for section in sections {
      guard !section.name.isEmpty, names.insert(section.name).inserted else {
        throw .section(
          file: path, name: section.name, problem: "names must be unique and not empty", expected: nil,
          found: nil)
      }
    }
  }

  private static func write(
    _ section: PackedSectionInput, to file: inout FileWriter, path: String
  ) throws -> PackedSectionDescriptor {
    let offset = file.position
    let pieces = try section.load()
    let byteCount = pieces.reduce(0) { $0 + $1.byteCount }
    guard byteCount == section.byteCount else {
      throw PackedModelError.section(
        file: path, name: section.name, problem: "the content is not as long as announced",
        expected: "\(section.byteCount) bytes", found: "\(byteCount)")
    }
    var checksum = Checksum()
    let compressed = try compressed(section, pieces)
    if let compressed {
      checksum.update(compressed)
      try file.write(compressed)
    } else {
      for piece in pieces {
        unsafe piece.region.withBytes { bytes in
          unsafe checksum.update(UnsafeRawBufferPointer(rebasing: bytes[piece.range]))
        }
        try file.write(piece.region, range: piece.range)
      }
    }
    return PackedSectionDescriptor(
      name: section.name, kind: section.kind, offset: offset, storedByteCount: file.position - offset,
      byteCount: byteCount, compression: compressed == nil ? .none : section.compression,
      transform: compressed == nil ? .none : section.transform, digest: checksum.finish())
  }

  /// The compressed bytes; nil when the section is to be stored as it is or does not shrink.
  private static func compressed(_ section: PackedSectionInput, _ pieces: [PackedBytes]) throws -> [UInt8]? {
    guard section.compression == .zstd, section.byteCount > 0 else { return nil }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(section.byteCount)
    for piece in pieces {
      unsafe piece.region.withBytes { region in unsafe bytes.append(contentsOf: region[piece.range]) }
    }
    if section.transform == .bf16Planes {
      guard bytes.count % 2 == 0 else {
        throw PackedModelError.section(
          file: section.name, name: section.name, problem: "an odd number of bytes in 16-bit values",
          expected: nil,
          found: nil)
      }
      bytes = BytePlanes.split(bytes)
    }
    let result = try Zstd.compress(bytes, level: 9)
    return result.count < bytes.count ? result : nil
  }
}

/// The header while the sections are being written: its length is fixed first, its content last.
private struct PackedHeaderDraft {
  let metadata: JSONObject
  let requiredFeatures: [String]

  /// Bytes that the header cannot exceed, so that its length plus the preamble is a multiple of 64.
  func reservedByteCount(_ sections: [PackedSectionInput]) -> Int {
    let longest = sections.map { section in
      JSONObject([
        ("name", .string(section.name)), ("kind", .string(section.kind)), ("offset", JSONValue(Int.max)),
        ("stored_bytes", JSONValue(section.byteCount)), ("bytes", JSONValue(section.byteCount)),
        ("compression", "zstd"), ("transform", "bf16_planes"),
        ("sha256", .string(String(repeating: "0", count: 64))),
      ])
    }
    let features = PackedHeader.ownFeatures.sorted() + requiredFeatures
    return PackedHeader.aligned(text(features, longest).utf8.count)
  }

  func bytes(_ sections: [PackedSectionDescriptor], headerByteCount: Int, fileByteCount: Int) -> [UInt8] {
    var features = Set(requiredFeatures)
    if sections.contains(where: { $0.compression == .zstd }) { features.insert("zstd") }
    if sections.contains(where: { $0.transform == .bf16Planes }) { features.insert("bf16_planes") }
    let entries = sections.map { section in
      JSONObject([
        ("name", .string(section.name)), ("kind", .string(section.kind)),
        ("offset", JSONValue(section.offset)),
        ("stored_bytes", JSONValue(section.storedByteCount)), ("bytes", JSONValue(section.byteCount)),
        ("compression", .string(section.compression.rawValue)),
        ("transform", .string(section.transform.rawValue)),
        ("sha256", .string(section.digest.hexadecimal)),
      ])
    }
    var header = Array(text(features.sorted(), entries).utf8)
    header += [UInt8](repeating: UInt8(ascii: " "), count: headerByteCount - header.count)
    var preamble = PackedHeader.magic + littleEndian(UInt64(PackedFile.version))
    preamble += littleEndian(UInt64(headerByteCount)) + littleEndian(UInt64(fileByteCount))
    return preamble + Checksum.sha256(preamble + header).bytes + header
  }

  private func text(_ features: [String], _ entries: [JSONObject]) -> String {
    let value: JSONValue = [
      "required_features": .array(features.map { .string($0) }), "metadata": .object(metadata),
      "sections": .array(entries.map { .object($0) }),
    ]
    return value.serialized()
  }

  private func littleEndian(_ value: UInt64) -> [UInt8] {
    (0..<8).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
  }
}
