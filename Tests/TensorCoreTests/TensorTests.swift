import TensorCore
import TestSupport
import Testing

@Suite struct TensorTests {
  /// Random bytes as every type decodes them, against the definition of the type.
  @Test(arguments: ElementType.allCases)
  func everyElementTypeDecodesByItsDefinition(type: ElementType) throws {
    let seed: UInt64 = 31
    var generator = SeededGenerator(seed: seed)
    let count = type.bitWidth == 8 ? 256 : 512
    let width = type.bitWidth / 8
    var bytes = (0..<count * max(width, 1)).map { _ in UInt8.random(in: 0...255, using: &generator) }
    if type.bitWidth == 8 { bytes = (0...255).map { $0 } }
    guard let value = Reference.decoder(type) else {
      let tensor = try Tensor(
        bytes: [UInt8](repeating: 0, count: type.bitWidth), elementType: type, shape: [8])
      #expect(throws: TensorCoreError.unsupportedElementType(type, purpose: "arithmetic")) {
        try tensor.floats()
      }
      return
    }
    // Three bytes before the first element: no alignment may be needed.
    let region = MemoryRegion(copying: [1, 2, 3] + bytes + [9])
    let tensor = try Tensor(elementType: type, shape: Shape([count]), region: region, byteOffset: 3)
    let found = try tensor.floats()
    for index in 0..<count {
      let raw = (0..<width).reduce(UInt64(0)) { $0 | UInt64(bytes[index * width + $1]) << UInt64(8 * $1) }
      let expected = value(raw)
      let isSame = found[index].bitPattern == expected.bitPattern || (found[index].isNaN && expected.isNaN)
      #expect(
        isSame, "\(type.name) \(String(raw, radix: 16)): \(found[index]), expected \(expected), seed \(seed)")
    }
    let part = try tensor.floats(elements: 5..<9)
    #expect(part.map(\.bitPattern) == found[5..<9].map(\.bitPattern))
    #expect(try tensor.floats(elements: count..<count).isEmpty)
  }

  @Test func knownCodesHaveKnownValues() {
    #expect(SmallFloat.e4m3Values[0x7E] == 448 && SmallFloat.e4m3Values[0x01] == 0x1p-9)
    #expect(SmallFloat.e4m3Values[0x08] == 0x1p-6 && SmallFloat.e4m3Values[0x38] == 1)
    #expect(SmallFloat.e4m3Values[0x7F].isNaN && SmallFloat.e4m3Values[0xFF].isNaN)
    #expect(SmallFloat.e4m3Values[0x80].sign == .minus && SmallFloat.e4m3Values[0x80] == 0)
    #expect(SmallFloat.e5m2Values[0x7B] == 57344 && SmallFloat.e5m2Values[0x01] == 0x1p-16)
    #expect(SmallFloat.e5m2Values[0x7C] == .infinity && SmallFloat.e5m2Values[0xFC] == -.infinity)
    #expect(SmallFloat.e5m2Values[0x7D].isNaN)
    #expect(SmallFloat.e8m0Values[127] == 1 && SmallFloat.e8m0Values[0] == 0x1p-127)
    #expect(SmallFloat.e8m0Values[254] == 0x1p127 && SmallFloat.e8m0Values[255].isNaN)
  }

  @Test func integersAreWidenedOrRefused() throws {
    let bytes: [UInt8] = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]
    func integers(_ type: ElementType, _ bytes: [UInt8]) throws -> [Int64] {
      let region = MemoryRegion(copying: [0] + bytes)
      let shape = try Shape([bytes.count * 8 / type.bitWidth])
      return try Tensor(elementType: type, shape: shape, region: region, byteOffset: 1).integers()
    }
    #expect(try integers(.u8, bytes) == [255, 255, 255, 255, 255, 255, 255, 127])
    #expect(try integers(.bool, [0, 1]) == [0, 1])
    #expect(try integers(.i8, bytes) == [-1, -1, -1, -1, -1, -1, -1, 127])
    #expect(try integers(.i16, bytes) == [-1, -1, -1, 32767])
    #expect(try integers(.u16, bytes) == [65535, 65535, 65535, 32767])
    #expect(try integers(.i32, bytes) == [-1, Int64(Int32.max)])
    #expect(try integers(.u32, bytes) == [4_294_967_295, Int64(Int32.max)])
    #expect(try integers(.i64, bytes) == [Int64.max])
    #expect(try integers(.u64, bytes) == [Int64.max])
    #expect(throws: TensorCoreError.self) { try integers(.u64, [0, 0, 0, 0, 0, 0, 0, 0x80]) }
    for type in ElementType.allCases where type.isFloatingPoint || type == .c64 {
      #expect(throws: TensorCoreError.self) { try integers(type, [UInt8](repeating: 0, count: 48)) }
    }
  }

  @Test func tensorsLieInsideTheirRegion() throws {
    let region = MemoryRegion(copying: [UInt8](repeating: 0, count: 16))
    #expect(try Tensor(elementType: .f32, shape: [4], region: region).byteCount == 16)
    #expect(try Tensor(elementType: .f32, shape: [0], region: region, byteOffset: 16).byteCount == 0)
    for (shape, offset) in [([4], 1), ([5], 0), ([0], 17), ([1], Int.max), ([1], -4), ([1 << 61], 0)] {
      #expect(throws: TensorCoreError.self) {
        try Tensor(elementType: .f32, shape: Shape(shape), region: region, byteOffset: offset)
      }
    }
    #expect(throws: TensorCoreError.byteCountMismatch(expected: 12, found: 8)) {
      try Tensor([Float(1), 2], shape: [3])
    }
    #expect(throws: TensorCoreError.self) { try Tensor([Int32(1)], shape: [2]) }
    #expect(throws: TensorCoreError.self) { try Tensor(bytes: [1, 2, 3], elementType: .i16, shape: [1]) }
  }

  @Test func reshapingKeepsTheElements() throws {
    let tensor = try Tensor([Float(1), 2, 3, 4, 5, 6], shape: [2, 3])
    let turned = try tensor.reshaped(to: [3, 2])
    #expect(turned.shape == [3, 2] && turned.region === tensor.region)
    #expect(try turned.floats() == [1, 2, 3, 4, 5, 6])
    #expect(throws: TensorCoreError.self) { try tensor.reshaped(to: [4]) }
  }

  @Test func tensorsKeepTheirRegionAlive() throws {
    var tensors: [Tensor] = []
    for number in 0..<50 {
      let region = MemoryRegion(copying: [UInt8](repeating: UInt8(number), count: 4096))
      tensors.append(try Tensor(elementType: .u8, shape: [8], region: region, byteOffset: 4000))
    }
    for (number, tensor) in tensors.enumerated() {
      #expect(try tensor.integers() == [Int64](repeating: Int64(number), count: 8))
    }
  }

  @Test func regionsThatCannotBeFilledAreReleased() {
    struct Failure: Error {}
    #expect(throws: Failure.self) {
      try unsafe MemoryRegion(byteCount: 10) { _ throws(Failure) in throw Failure() }
    }
    let zeros = unsafe MemoryRegion(byteCount: 5) { _ in }
    unsafe zeros.withBytes { #expect(unsafe Array($0) == [0, 0, 0, 0, 0]) }
    #expect(MemoryRegion(copying: []).byteCount == 0)
  }
}

/// The value of a bit pattern, from the definition of its type.
private enum Reference {
  static func decoder(_ type: ElementType) -> ((UInt64) -> Float)? {
    switch type {
    case .c64, .f4, .f6e2m3, .f6e3m2: nil
    case .bool, .u8, .u16, .u32, .u64: { Float($0) }
    case .i8: { Float(Int8(truncatingIfNeeded: $0)) }
    case .i16: { Float(Int16(truncatingIfNeeded: $0)) }
    case .i32: { Float(Int32(truncatingIfNeeded: $0)) }
    case .i64: { Float(Int64(truncatingIfNeeded: $0)) }
    case .f32: { Float(bitPattern: UInt32($0)) }
    case .f64: { Float(Double(bitPattern: $0)) }
    case .bf16: { float($0, exponentBits: 8, mantissaBits: 7) }
    case .f16: { float($0, exponentBits: 5, mantissaBits: 10) }
    case .f8e5m2: { float($0, exponentBits: 5, mantissaBits: 2) }
    case .f8e4m3:
      { $0 & 0x7F == 0x7F ? .nan : float($0, exponentBits: 4, mantissaBits: 3, hasInfinity: false) }
    case .f8e8m0: { $0 == 255 ? .nan : Float(power(Int($0) - 127)) }
    }
  }

  static func power(_ exponent: Int) -> Double {
    (0..<abs(exponent)).reduce(1.0) { value, _ in exponent < 0 ? value / 2 : value * 2 }
  }

  static func float(_ bits: UInt64, exponentBits: Int, mantissaBits: Int, hasInfinity: Bool = true) -> Float {
    let largest = 1 << exponentBits - 1
    let bias = 1 << (exponentBits - 1) - 1
    let exponent = Int(bits >> UInt64(mantissaBits)) & largest
    let mantissa = Double(bits & (1 << UInt64(mantissaBits) - 1)) / Double(1 << mantissaBits)
    let sign: Double = bits >> UInt64(exponentBits + mantissaBits) & 1 == 1 ? -1 : 1
    if hasInfinity, exponent == largest { return mantissa == 0 ? Float(sign) * .infinity : .nan }
    let magnitude = exponent == 0 ? mantissa * power(1 - bias) : (1 + mantissa) * power(exponent - bias)
    return Float(sign * magnitude)
  }
}
