import OrderedCollections
import TensorCore

/// A plane that a codec needs.
struct PlaneRequirement {
  let name: String
  let elementType: ElementType
  let dimensions: [Int]

  init(_ name: String, _ elementType: ElementType, _ dimensions: [Int]) {
    self.name = name
    self.elementType = elementType
    self.dimensions = dimensions
  }
}

extension Codec {
  /// Checks that weights are finite and that importance fits them.
  /// - Throws: ``CodecError``.
  func checkInput(_ matrix: FloatMatrix, importance: [Float]?) throws(CodecError) {
    if let bad = matrix.firstNonFinite {
      throw .nonFinite(row: bad / matrix.columns, column: bad % matrix.columns, value: matrix.values[bad])
    }
    guard let importance else { return }
    guard importance.count == matrix.columns else {
      throw .invalidParameters(
        codec: canonicalName, reason: "importance of \(importance.count) inputs for \(matrix.columns) columns"
      )
    }
    guard importance.allSatisfy({ $0.isFinite && $0 >= 0 }) else {
      throw .invalidParameters(codec: canonicalName, reason: "importance is negative or not finite")
    }
  }

  /// Checks that a size could belong to a matrix in memory.
  func checkSize(_ matrix: EncodedMatrix) throws(CodecError) {
    let limit = Int.max / 64
    guard (0...limit).contains(matrix.rows), (0...limit).contains(matrix.columns),
      !matrix.rows.multipliedReportingOverflow(by: matrix.columns).overflow
    else {
      throw .damagedPlane(
        codec: canonicalName, plane: "codes", expected: "a matrix of possible size",
        found: "\(matrix.rows) x \(matrix.columns)")
    }
  }

  /// Checks that the planes are these and no others.
  func checkPlanes(_ matrix: EncodedMatrix, _ wanted: [PlaneRequirement]) throws(CodecError) {
    for plane in wanted {
      let expected = "\(plane.elementType.name)\(plane.dimensions)"
      guard let tensor = matrix.planes[plane.name] else {
        throw .damagedPlane(codec: canonicalName, plane: plane.name, expected: expected, found: "nothing")
      }
      guard tensor.elementType == plane.elementType, tensor.shape.dimensions == plane.dimensions else {
        throw .damagedPlane(
          codec: canonicalName, plane: plane.name, expected: expected,
          found: "\(tensor.elementType.name)\(tensor.shape)")
      }
    }
    if let extra = matrix.planes.keys.first(where: { name in !wanted.contains { $0.name == name } }) {
      throw .damagedPlane(codec: canonicalName, plane: extra, expected: "nothing", found: "a plane")
    }
  }

  /// A plane of bytes that the codec computed itself.
  func plane(_ bytes: [UInt8], _ type: ElementType, _ dimensions: [Int]) throws(CodecError) -> Tensor {
    do throws(TensorCoreError) {
      return try Tensor(bytes: bytes, elementType: type, shape: Shape(dimensions))
    } catch {
      throw .invalidParameters(codec: canonicalName, reason: error.diagnostic.message)
    }
  }

  /// A plane of numbers rounded to f16, bf16 or f32.
  func plane(
    floats values: [Float], _ type: ElementType, _ dimensions: [Int]
  ) throws(CodecError) -> Tensor {
    switch type {
    case .f16: try plane(littleEndian(values.map { Float16($0).bitPattern }), .f16, dimensions)
    case .bf16: try plane(littleEndian(values.map(SmallFloat.bfloat16)), .bf16, dimensions)
    default: try plane(littleEndian(values.map(\.bitPattern)), .f32, dimensions)
    }
  }

  private func littleEndian<Bits: FixedWidthInteger>(_ values: [Bits]) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(values.count * Bits.bitWidth / 8)
    for value in values {
      for shift in stride(from: 0, to: Bits.bitWidth, by: 8) {
        bytes.append(UInt8(truncatingIfNeeded: value >> Bits(shift)))
      }
    }
    return bytes
  }
}

extension ElementType {
  /// What `value` becomes when it is stored as f16, bf16 or f32.
  func rounded(_ value: Float) -> Float {
    switch self {
    case .f16: Float(Float16(value))
    case .bf16: SmallFloat.float(bfloat16: SmallFloat.bfloat16(value))
    default: value
    }
  }
}
