import OrderedCollections
import TensorCore

/// A quantized weight matrix `[rows, columns]`: the codec that made it and its planes of bits.
public struct EncodedMatrix: Sendable {
  /// The codec, with its parameters.
  public let codec: any Codec
  /// Output features.
  public let rows: Int
  /// Input features.
  public let columns: Int
  /// Named planes, as the codec defines them.
  public let planes: OrderedDictionary<String, Tensor>

  /// Adopts planes after the codec checked them.
  /// - Throws: ``CodecError/damagedPlane(codec:plane:expected:found:)``.
  public init(
    codec: any Codec, rows: Int, columns: Int, planes: OrderedDictionary<String, Tensor>
  ) throws(CodecError) {
    self.codec = codec
    self.rows = rows
    self.columns = columns
    self.planes = planes
    try codec.validate(self)
  }

  /// Bytes of all planes.
  public var byteCount: Int { planes.values.reduce(0) { $0 + $1.byteCount } }

  /// Puts matrices of one codec, whose rows are independent but for equal shared planes, one below the other.
  /// - Throws: ``CodecError/invalidParameters(codec:reason:)`` when they do not go together.
  public static func joined(rows parts: [EncodedMatrix]) throws(CodecError) -> EncodedMatrix {
    guard let first = parts.first else {
      throw .invalidParameters(codec: "joined", reason: "there is nothing to join")
    }
    guard parts.count > 1 else { return first }
    let name = first.codec.canonicalName
    guard first.codec.isRowwise || !first.codec.sharedPlanes.isEmpty else {
      throw .invalidParameters(codec: name, reason: "rows of this codec depend on each other")
    }
    let fits = parts.allSatisfy {
      $0.columns == first.columns && $0.codec.canonicalName == name && $0.planes.keys == first.planes.keys
    }
    guard fits else {
      throw .invalidParameters(codec: name, reason: "the parts differ in columns or codec")
    }
    var planes: OrderedDictionary<String, Tensor> = [:]
    for (plane, tensor) in first.planes {
      if first.codec.sharedPlanes.contains(plane) {
        let same = parts.allSatisfy { $0.planes[plane].map { $0.hasSameBytes(as: tensor) } ?? false }
        guard same else {
          throw .invalidParameters(codec: name, reason: "the parts have different planes '\(plane)'")
        }
        planes[plane] = tensor
      } else {
        planes[plane] = try stacked(parts.compactMap { $0.planes[plane] }, codec: name)
      }
    }
    return try EncodedMatrix(
      codec: first.codec, rows: parts.reduce(0) { $0 + $1.rows }, columns: first.columns, planes: planes)
  }

  /// The matrix whose row `i` is row `order[i]` of this one; exact, as only bytes move, and
  /// they do when they are first asked for.
  /// - Throws: ``CodecError/invalidParameters(codec:reason:)`` when a plane does not consist of rows.
  public func selecting(rows order: [Int]) throws(CodecError) -> EncodedMatrix {
    precondition(order.allSatisfy { (0..<rows).contains($0) }, "row out of range")
    var selected: OrderedDictionary<String, Tensor> = [:]
    for (name, plane) in planes {
      if codec.sharedPlanes.contains(name) {
        selected[name] = plane
        continue
      }
      guard let first = plane.shape.dimensions.first, first == rows else {
        throw .invalidParameters(
          codec: codec.canonicalName, reason: "plane '\(name)' does not consist of rows of the matrix")
      }
      do throws(TensorCoreError) { selected[name] = try plane.selecting(rows: order) } catch {
        throw .invalidParameters(codec: codec.canonicalName, reason: error.diagnostic.message)
      }
    }
    return try EncodedMatrix(codec: codec, rows: order.count, columns: columns, planes: selected)
  }

  private static func stacked(_ tensors: [Tensor], codec: String) throws(CodecError) -> Tensor {
    let rows = tensors.reduce(0) { $0 + ($1.shape.dimensions.first ?? 0) }
    let region = unsafe MemoryRegion(byteCount: tensors.reduce(0) { $0 + $1.byteCount }) { target in
      var position = 0
      for tensor in tensors {
        unsafe tensor.withBytes { source in
          let end = position + source.count
          unsafe UnsafeMutableRawBufferPointer(rebasing: target[position..<end]).copyMemory(from: source)
        }
        position += tensor.byteCount
      }
    }
    return try tensor(region, like: tensors[0], rows: rows, codec: codec)
  }

  private static func tensor(
    _ region: MemoryRegion, like plane: Tensor, rows: Int, codec: String
  ) throws(CodecError) -> Tensor {
    do throws(TensorCoreError) {
      let shape = try Shape([rows] + plane.shape.dimensions.dropFirst())
      return try Tensor(elementType: plane.elementType, shape: shape, region: region)
    } catch {
      throw .invalidParameters(codec: codec, reason: error.diagnostic.message)
    }
  }

  /// All values.
  public func decoded() -> FloatMatrix {
    var matrix = FloatMatrix(zeros: rows, columns)
    unsafe matrix.values.withUnsafeMutableBufferPointer { target in
      unsafe codec.decode(self, rows: 0..<rows, into: target)
    }
    return matrix
  }
}

extension Tensor {
  fileprivate func hasSameBytes(as other: Tensor) -> Bool {
    guard elementType == other.elementType, shape == other.shape else { return false }
    return unsafe withBytes { left in unsafe other.withBytes { right in unsafe left.elementsEqual(right) } }
  }
}
