import OrderedCollections
import SafeIO
import TensorCore

/// One safetensors file, mapped; its tensors look at the mapping.
public struct SafetensorsFile: Sendable {
  /// Where it was read from.
  public let path: String
  /// The texts under `__metadata__`.
  public let metadata: OrderedDictionary<String, String>
  /// The tensors in the order of the header.
  public let tensors: OrderedDictionary<String, Tensor>
  /// Harmless oddities.
  public let warnings: [String]

  /// Maps a file and checks its header; the data are not touched.
  /// - Throws: ``SafetensorsError``.
  public init(path: String, limits: Limits = .standard) throws(SafetensorsError) {
    let region: MemoryRegion
    do throws(SafeIOError) { region = try MappedFile.open(path) } catch { throw .io(error) }
    try self.init(region: region, path: path, limits: limits)
  }

  /// Looks at a file that is in memory already.
  /// - Throws: ``SafetensorsError``.
  public init(region: MemoryRegion, path: String, limits: Limits = .standard) throws(SafetensorsError) {
    let header = try SafetensorsHeader(region, file: path, limits: limits)
    self.path = path
    self.metadata = header.metadata
    self.tensors = header.tensors
    self.warnings = header.warnings
  }

  /// Whether the bytes at the start of a file look like a safetensors header.
  public static func isSafetensors(path: String) -> Bool {
    guard let region = try? MappedFile.open(path), region.byteCount > 9 else { return false }
    var reader = ByteReader(region)
    guard let length = try? reader.readLittleEndian(UInt64.self) else { return false }
    let first = unsafe region.withBytes { unsafe $0[8] }
    return length >= 2 && length <= UInt64(region.byteCount - 8) && first == UInt8(ascii: "{")
  }
}
