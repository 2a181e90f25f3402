import OrderedCollections
import SafeIO
import TensorCore

/// Preamble and header of a packed file: the part that is checked when a file is opened.
struct PackedHeader {
  static let magic = Array("ADZEPACK".utf8)
  /// Magic, version, flags, header length, file length, digest.
  static let preambleByteCount = 64
  static let alignment = 64
  /// Features of the container itself.
  static let ownFeatures: Set<String> = ["zstd", "bf16_planes"]

  private(set) var metadata = JSONObject()
  private(set) var requiredFeatures: [String] = []
  private(set) var sections: OrderedDictionary<String, PackedSectionDescriptor> = [:]
  private let file: String

  init(
    _ region: MemoryRegion, file: String, limits: Limits, supportedFeatures: Set<String>
  ) throws(PackedModelError) {
    self.file = file
    let headerRange = try PackedHeader.headerRange(region, file: file, limits: limits)
    let value: JSONValue
    do throws(SafeIOError) {
      value = try JSONValue.parse(region, range: headerRange, file: file, limits: limits)
    } catch { throw .io(error) }
    guard let metadata = value["metadata"]?.objectValue,
      let features = value["required_features"]?.arrayValue,
      let entries = value["sections"]?.arrayValue
    else {
      throw .header(
        file: file, offset: PackedHeader.preambleByteCount,
        problem: "metadata, required_features and sections are needed")
    }
    self.metadata = metadata
    try checkFeatures(features, supported: supportedFeatures)
    guard entries.count <= limits.maxTensors else {
      throw .io(.limit(file: file, what: "sections", limit: limits.maxTensors, found: entries.count))
    }
    var position = headerRange.upperBound
    for (index, entry) in entries.enumerated() {
      let section = try descriptor(entry, index: index)
      guard section.offset == PackedHeader.aligned(position) else {
        throw failure(
          section.name, "the section does not follow the one before it",
          expected: "offset \(PackedHeader.aligned(position))", found: "\(section.offset)")
      }
      guard section.storedByteCount <= region.byteCount - section.offset else {
        throw failure(
          section.name, "the section ends beyond the file",
          expected: "at most \(region.byteCount - section.offset) bytes", found: "\(section.storedByteCount)")
      }
      position = section.offset + section.storedByteCount
      guard sections.updateValue(section, forKey: section.name) == nil else {
        throw failure(section.name, "the name appears twice")
      }
    }
    guard position == region.byteCount else {
      throw .header(
        file: file, offset: position, problem: "\(region.byteCount - position) bytes after the last section")
    }
  }

  /// The next multiple of 64, for positions inside files.
  static func aligned(_ position: Int) -> Int { (position + alignment - 1) / alignment * alignment }

  /// Checks the preamble and the digest of the header.
  private static func headerRange(
    _ region: MemoryRegion, file: String, limits: Limits
  ) throws(PackedModelError) -> Range<Int> {
    var reader = ByteReader(region, file: file)
    do throws(SafeIOError) {
      guard region.byteCount >= 8, try reader.readBytes(8) == magic else {
        throw SafeIOError.missing(file: file)
      }
    } catch { throw .notPacked(file: file) }
    let fields: (version: UInt32, flags: UInt32, length: UInt64, fileLength: UInt64)
    let digest: [UInt8]
    do throws(SafeIOError) {
      fields = try (
        reader.readLittleEndian(), reader.readLittleEndian(), reader.readLittleEndian(),
        reader.readLittleEndian()
      )
      digest = try reader.readBytes(32)
    } catch { throw .io(error) }
    guard fields.version == PackedFile.version else { throw .version(file: file, version: fields.version) }
    guard fields.flags == 0 else { throw .feature(file: file, name: "flags \(fields.flags)") }
    let length = fields.length
    let fileLength = fields.fileLength
    guard length >= 2, length <= UInt64(min(limits.maxHeaderBytes, region.byteCount - preambleByteCount))
    else {
      throw .header(file: file, offset: 16, problem: "a header of \(length) bytes cannot be")
    }
    guard fileLength == UInt64(region.byteCount) else {
      throw .header(
        file: file, offset: 24,
        problem:
          "the file has \(region.byteCount) bytes and was written with \(fileLength): it is truncated or damaged"
      )
    }
    let range = preambleByteCount..<preambleByteCount + Int(length)
    guard PackedHeader.digest(region, header: range).bytes == digest else {
      throw .header(
        file: file, offset: 32, problem: "the checksum of the header is wrong: the file is damaged")
    }
    return range
  }

  /// The digest over the preamble up to the digest, and the header.
  static func digest(_ region: MemoryRegion, header: Range<Int>) -> SHA256Digest {
    var checksum = Checksum()
    unsafe region.withBytes { bytes in
      unsafe checksum.update(UnsafeRawBufferPointer(rebasing: bytes[0..<32]))
      unsafe checksum.update(UnsafeRawBufferPointer(rebasing: bytes[header]))
    }
    return checksum.finish()
  }

  private mutating func checkFeatures(_ features: [JSONValue], supported: Set<String>)
    throws(PackedModelError)
  {
    for feature in features {
      guard let name = feature.stringValue else {
        throw .header(
          file: file, offset: PackedHeader.preambleByteCount, problem: "a required feature is no string")
      }
      guard PackedHeader.ownFeatures.contains(name) || supported.contains(name) else {
        throw .feature(file: file, name: name)
      }
      requiredFeatures.append(name)
    }
  }

  private func descriptor(_ entry: JSONValue, index: Int) throws(PackedModelError) -> PackedSectionDescriptor
  {
    guard let name = entry["name"]?.stringValue, !name.isEmpty else {
      throw failure("section \(index)", "the name is missing")
    }
    guard let kind = entry["kind"]?.stringValue,
      let offset = entry["offset"]?.intValue, let stored = entry["stored_bytes"]?.intValue,
      let byteCount = entry["bytes"]?.intValue, let compression = entry["compression"]?.stringValue,
      let transform = entry["transform"]?.stringValue, let digest = entry["sha256"]?.stringValue
    else { throw failure(name, "the entry is not complete") }
    guard offset >= 0, stored >= 0, byteCount >= 0 else { throw failure(name, "a size is negative") }
    guard let compression = PackedCompression(rawValue: compression) else {
      throw failure(name, "unknown compression", expected: "none or zstd", found: compression)
    }
    guard let transform = PackedTransform(rawValue: transform) else {
      throw failure(name, "unknown transform", expected: "none or bf16_planes", found: transform)
    }
    guard let digest = SHA256Digest(hexadecimal: digest) else {
      throw failure(name, "the checksum is no SHA-256")
    }
    if compression == .none && (stored != byteCount || transform != .none) {
      throw failure(name, "an uncompressed section must be stored as it is")
    }
    if transform == .bf16Planes && byteCount % 2 != 0 {
      throw failure(name, "an odd number of bytes in 16-bit values")
    }
    return PackedSectionDescriptor(
      name: name, kind: kind, offset: offset, storedByteCount: stored, byteCount: byteCount,
      compression: compression,
      transform: transform, digest: digest)
  }

  private func failure(
    _ name: String, _ problem: String, expected: String? = nil, found: String? = nil
  ) -> PackedModelError {
    .section(file: file, name: name, problem: problem, expected: expected, found: found)
  }
}
