import OrderedCollections
import SafeIO
import TensorCore

/// Where a tensor lies and what it is.
public struct GGUFTensor: Sendable, Equatable {
  /// Name.
  public let name: String
  /// Dimensions, outermost first (a file lists them innermost first).
  public let shape: Shape
  /// How its elements are stored.
  public let type: GGUFTensorType
  /// Offset in the file.
  public let offset: Int
  /// Bytes in the file.
  public let byteCount: Int
}

/// A GGUF file of version 2 or 3, little-endian, mapped.
public struct GGUFFile: Sendable {
  /// Where it was read from.
  public let path: String
  /// Version of the format.
  public let version: UInt32
  /// Metadata in the order of the file.
  public let metadata: OrderedDictionary<String, GGUFValue>
  /// Tensors by name, in the order of the file.
  public let tensors: OrderedDictionary<String, GGUFTensor>
  /// Alignment of the data.
  public let alignment: Int
  /// Offset of the first tensor's data in the file.
  public let dataOffset: Int
  /// Harmless oddities.
  public let warnings: [String]
  private let region: MemoryRegion

  /// Maps a file and checks its header; the data are not touched.
  /// - Throws: ``GGUFError``.
  public init(path: String, limits: Limits = .standard) throws(GGUFError) {
    let region: MemoryRegion
    do throws(SafeIOError) { region = try MappedFile.open(path) } catch { throw .io(error) }
    try self.init(region: region, path: path, limits: limits)
  }

  /// Looks at a file that is in memory already.
  /// - Throws: ``GGUFError``.
  public init(region: MemoryRegion, path: String, limits: Limits = .standard) throws(GGUFError) {
    let header = try GGUFHeaderReader(region, file: path, limits: limits)
    self.path = path
    version = header.version
    metadata = header.metadata
    tensors = header.tensors
    alignment = header.alignment
    dataOffset = header.dataOffset
    warnings = header.warnings
    self.region = region
  }

  /// Whether a file begins with `GGUF`.
  public static func isGGUF(path: String) -> Bool {
    guard let region = try? MappedFile.open(path) else { return false }
    return unsafe region.withBytes { unsafe Array($0.prefix(4)) } == GGUFHeaderReader.magic
  }

  /// A tensor of a plain type (F32, F16, BF16, F64, I8 to I64) as a view of the file.
  /// - Throws: ``GGUFError/noTensor(file:name:)``, or `.tensor` for block types.
  public func tensor(named name: String) throws(GGUFError) -> Tensor {
    guard let entry = tensors[name] else { throw .noTensor(file: path, name: name) }
    guard let elementType = entry.type.elementType else {
      throw .tensor(
        file: path, name: name, problem: "tensors of this type have no plain elements", expected: nil,
        found: entry.type.name)
    }
    do throws(TensorCoreError) {
      return try Tensor(
        elementType: elementType, shape: entry.shape, region: region, byteOffset: entry.offset)
    } catch {
      throw .tensor(file: path, name: name, problem: error.diagnostic.message, expected: nil, found: nil)
    }
  }

  /// The stored bytes of a tensor of any type, as a u8 vector that looks at the file.
  /// - Throws: ``GGUFError/noTensor(file:name:)``.
  public func bytes(of name: String) throws(GGUFError) -> Tensor {
    guard let entry = tensors[name] else { throw .noTensor(file: path, name: name) }
    do throws(TensorCoreError) {
      return try Tensor(
        elementType: .u8, shape: Shape([entry.byteCount]), region: region, byteOffset: entry.offset)
    } catch {
      throw .tensor(file: path, name: name, problem: error.diagnostic.message, expected: nil, found: nil)
    }
  }
}
