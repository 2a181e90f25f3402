import Codecs
import OrderedCollections
import TensorCore
import TestSupport
import Testing

@Suite struct HostileInputTests {
  static let searches: [ScaleSearch] = [.extremes, .standard]

  private func codec(_ scaleType: ElementType = .f16, isSymmetric: Bool = true) throws -> IntegerGroupCodec {
    try IntegerGroupCodec(bits: 4, groupSize: 8, isSymmetric: isSymmetric, scaleType: scaleType)
  }

  @Test(arguments: [Float.nan, .infinity, -.infinity])
  func nonFiniteWeightsAreRefusedWithTheirPlace(value: Float) throws {
    var matrix = try TestMatrix.normal(5, 20, seed: 1)
    matrix[3, 17] = value
    matrix[4, 0] = .nan
    for search in Self.searches {
      let error = try #require(throws: CodecError.self) {
        try codec().encode(matrix, importance: nil, search: search)
      }
      guard case .nonFinite(let row, let column, let found) = error else {
        Issue.record("\(error)")
        continue
      }
      #expect((row, column) == (3, 17))
      #expect(found.isNaN == value.isNaN && (value.isNaN || found == value))
      #expect(error.description.contains("row 3, column 17"))
    }
  }

  @Test func zerosStayZeroAndConstantsStayNear() throws {
    for scaleType in [ElementType.f16, .bf16, .f32] {
      for isSymmetric in [true, false] {
        let codec = try codec(scaleType, isSymmetric: isSymmetric)
        for search in Self.searches {
          let zeros = FloatMatrix(zeros: 2, 20)
          #expect(try codec.encode(zeros, importance: nil, search: search).decoded() == zeros)
          for constant: Float in [1, -1, 0.001, -300] {
            let matrix = try FloatMatrix(
              rows: 1, columns: 20, values: [Float](repeating: constant, count: 20))
            for value in try codec.encode(matrix, importance: nil, search: search).decoded().values {
              #expect(abs(value - constant) <= abs(constant) * 0.08, "\(codec.canonicalName) of \(constant)")
            }
          }
        }
      }
    }
  }

  @Test func scalesBeyondTheirTypeAreRefused() throws {
    for isSymmetric in [true, false] {
      for search in Self.searches {
        var matrix = try TestMatrix.normal(3, 20, seed: 2)
        matrix[2, 9] = 3e6
        let error = try #require(throws: CodecError.self) {
          try codec(isSymmetric: isSymmetric).encode(matrix, importance: nil, search: search)
        }
        #expect(error == .scaleOverflow(row: 2, group: 1, scale: .infinity, type: .f16))
        #expect(error.diagnostic.code == "codec.scale-overflow")
        let wide = try codec(.bf16, isSymmetric: isSymmetric).encode(matrix, importance: nil, search: search)
        #expect(abs(wide.decoded()[2, 9] - 3e6) < 0.1 * 3e6)
      }
    }
  }

  @Test func extremesOfFloat32DoNotTrap() throws {
    let large = Float.greatestFiniteMagnitude
    let tiny = Float.leastNonzeroMagnitude
    let rows: [[Float]] = [
      [large, -large, 0, 1], [large, large, large, large], [tiny, -tiny, 0, tiny],
      [1e-30, -1e-30, tiny, large],
    ]
    for values in rows {
      let matrix = try FloatMatrix(rows: 1, columns: 4, values: values)
      for scaleType in [ElementType.f16, .bf16, .f32] {
        for isSymmetric in [true, false] {
          for search in Self.searches {
            let codec = try codec(scaleType, isSymmetric: isSymmetric)
            do throws(CodecError) {
              let decoded = try codec.encode(matrix, importance: nil, search: search).decoded()
              #expect(decoded.values.allSatisfy { !$0.isNaN })
            } catch {
              #expect(error.diagnostic.code == "codec.scale-overflow")
            }
          }
        }
      }
    }
  }

  @Test func denormalRowsBecomeSmallNumbers() throws {
    for scaleType in [ElementType.f16, .bf16, .f32] {
      let matrix = try TestMatrix.normal(2, 16, seed: 3, deviation: 0x1p-130)
      let decoded = try codec(scaleType).encode(matrix, importance: nil, search: .standard).decoded()
      #expect(decoded.values.allSatisfy { abs($0) <= 2e-38 })
    }
  }

  @Test func importanceThatDoesNotFitIsRefused() throws {
    let matrix = try TestMatrix.normal(2, 16, seed: 3)
    for importance: [Float] in [
      [], [1], [Float](repeating: 1, count: 17), [Float](repeating: .nan, count: 16),
      [Float](repeating: -1, count: 16), [Float](repeating: .infinity, count: 16),
    ] {
      let error = try #require(throws: CodecError.self) {
        try codec().encode(matrix, importance: importance, search: .standard)
      }
      #expect(error.diagnostic.code == "codec.parameters")
    }
  }

  @Test(arguments: [true, false])
  func damagedPlanesAreRefused(isSymmetric: Bool) throws {
    let codec = try codec(isSymmetric: isSymmetric)
    let good = try codec.encode(try TestMatrix.normal(3, 20, seed: 8), importance: nil, search: .extremes)
    func expectRefusal(
      of plane: String, rows: Int = 3, columns: Int = 20,
      _ change: (inout OrderedDictionary<String, Tensor>) throws -> Void
    ) throws {
      var planes = good.planes
      try change(&planes)
      let error = try #require(throws: CodecError.self) {
        try EncodedMatrix(codec: codec, rows: rows, columns: columns, planes: planes)
      }
      guard case .damagedPlane(_, plane, _, _) = error else {
        Issue.record("\(error)")
        return
      }
    }
    for name in good.planes.keys {
      try expectRefusal(of: name) { $0[name] = nil }
      try expectRefusal(of: name) { $0[name] = try Tensor([Float](repeating: 0, count: 9), shape: [3, 3]) }
      try expectRefusal(of: name) { planes in
        let plane = try #require(planes[name])
        planes[name] = try plane.reshaped(to: Shape([plane.shape.elementCount]))
      }
    }
    try expectRefusal(of: "extra") { $0["extra"] = $0["codes"] }
    try expectRefusal(of: "codes", rows: 4) { _ in }
    try expectRefusal(of: "codes", columns: 24) { _ in }
    try expectRefusal(of: "codes", columns: 0) { _ in }
    for (rows, columns) in [
      (-1, 20), (3, -1), (3, Int.max), (Int.max, 20), (3, Int.max / 8), (Int.min, Int.min),
    ] {
      try expectRefusal(of: "codes", rows: rows, columns: columns) { _ in }
    }
  }
}
