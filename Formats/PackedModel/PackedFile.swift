import OrderedCollections
import SafeIO
import TensorCore

/// A fault that ``PackedFile/verify(progress:)`` found.
public struct PackedProblem: Sendable, Equatable, CustomStringConvertible {
  /// The damaged section.
  public let section: String
  /// What is wrong with it.
  public let problem: String

  /// Section and problem.
  public var description: String { "section '\(Diagnostic.escaped(section))': \(problem)" }
}

/// A packed file, mapped: named sections of bytes with metadata; see SPEC.md.
public struct PackedFile: Sendable {
  /// The version that is written and read.
  public static let version: UInt32 = 1

  /// Where it was read from.
  public let path: String
  /// What the writer noted about the whole.
  public let metadata: JSONObject
  /// Features that a reader must have.
  public let requiredFeatures: [String]
  /// The sections in the order of the file.
  public let sections: OrderedDictionary<String, PackedSectionDescriptor>
  private let region: MemoryRegion
  private let limits: Limits

  /// Maps a file; checks preamble, header digest and section table, and touches no section.
  /// - Parameter supportedFeatures: features beyond those of the container that the caller can handle.
  /// - Throws: ``PackedModelError``.
  public init(
    path: String, limits: Limits = .standard, supportedFeatures: Set<String> = []
  ) throws(PackedModelError) {
    let region: MemoryRegion
    do throws(SafeIOError) { region = try MappedFile.open(path) } catch { throw .io(error) }
    try self.init(region: region, path: path, limits: limits, supportedFeatures: supportedFeatures)
  }

  /// Looks at a file that is in memory already.
  /// - Throws: ``PackedModelError``.
  public init(
    region: MemoryRegion, path: String, limits: Limits = .standard, supportedFeatures: Set<String> = []
  ) throws(PackedModelError) {
    let header = try PackedHeader(region, file: path, limits: limits, supportedFeatures: supportedFeatures)
    self.path = path
    self.metadata = header.metadata
    self.requiredFeatures = header.requiredFeatures
    self.sections = header.sections
    self.region = region
    self.limits = limits
  }

  /// Whether a file begins as a packed file does.
  public static func isPacked(path: String) -> Bool {
    guard let region = try? MappedFile.open(path), region.byteCount >= 8 else { return false }
    return unsafe region.withBytes { unsafe Array($0.prefix(8)) } == PackedHeader.magic
  }

  /// The bytes of a section: a part of the mapping when it is stored as it is, else decompressed.
  ///
  /// Compressed sections are always checked; others when `checked` is set, which reads them once.
  /// - Throws: ``PackedModelError/noSection(file:name:)`` or `.section`.
  public func bytes(of name: String, checked: Bool = false) throws(PackedModelError) -> PackedBytes {
    guard let section = sections[name] else { throw .noSection(file: path, name: name) }
    let range = section.offset..<section.offset + section.storedByteCount
    if checked || section.compression != .none {
      guard Checksum.sha256(region, range: range) == section.digest else {
        throw failure(section, "the checksum is wrong: the section is damaged")
      }
    }
    switch section.compression {
    case .none: return PackedBytes(region, range: range)
    case .zstd: return PackedBytes(try decompressed(section, range))
    }
  }

  /// Reads the whole file and names every damaged section and every stray byte between sections.
  /// - Parameter progress: told the bytes done and the bytes of the file.
  public func verify(progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }) -> [PackedProblem] {
    var problems: [PackedProblem] = []
    var position = sections.values.first?.offset ?? region.byteCount
    for (index, section) in sections.values.enumerated() {
      let start = index == 0 ? headerEnd : position
      if !isZero(start..<section.offset) {
        problems.append(
          PackedProblem(section: section.name, problem: "the bytes before the section are not zero"))
      }
      do throws(PackedModelError) { _ = try bytes(of: section.name, checked: true) } catch {
        problems.append(PackedProblem(section: section.name, problem: error.diagnostic.message))
      }
      position = section.offset + section.storedByteCount
      progress(position, region.byteCount)
    }
    return problems
  }

  private var headerEnd: Int {
    var reader = ByteReader(region)
    let length = (try? reader.skip(16)).flatMap { _ in try? reader.readLittleEndian(UInt64.self) } ?? 0
    return PackedHeader.preambleByteCount + Int(clamping: length)
  }

  private func isZero(_ range: Range<Int>) -> Bool {
    unsafe region.withBytes { bytes in unsafe bytes[range].allSatisfy { $0 == 0 } }
  }

  private func decompressed(_ section: PackedSectionDescriptor, _ range: Range<Int>) throws(PackedModelError)
    -> MemoryRegion
  {
    guard section.byteCount <= limits.maxDecompressedBytes else {
      throw .io(
        .limit(
          file: path, what: "bytes of a section", limit: limits.maxDecompressedBytes, found: section.byteCount
        ))
    }
    let plain: MemoryRegion
    do throws(SafeIOError) {
      plain = try Zstd.decompress(region, range: range, expectedByteCount: section.byteCount)
    } catch {
      throw failure(section, error.diagnostic.message)
    }
    return section.transform == .bf16Planes ? BytePlanes.joined(plain) : plain
  }

  private func failure(_ section: PackedSectionDescriptor, _ problem: String) -> PackedModelError {
    .section(file: path, name: section.name, problem: problem, expected: nil, found: nil)
  }
}
