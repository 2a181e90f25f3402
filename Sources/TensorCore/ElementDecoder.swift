/// Decodes stored elements of one type to float32.
struct ElementDecoder {
  private let type: ElementType

  /// Nil for types whose elements have no float value or do not fill whole bytes.
  init?(_ type: ElementType) {
    switch type {
    case .c64, .f4, .f6e2m3, .f6e3m2: return nil
    default: self.type = type
    }
  }

  func decode(_ bytes: UnsafeRawBufferPointer, into target: UnsafeMutableBufferPointer<Float>) {
    switch type {
    case .f32: unsafe UnsafeMutableRawBufferPointer(target).copyMemory(from: bytes)
    case .bf16: unsafe each(bytes, target, UInt16.self) { Float(bitPattern: UInt32($0) << 16) }
    case .f16: unsafe each(bytes, target, UInt16.self) { Float(Float16(bitPattern: $0)) }
    case .f64: unsafe each(bytes, target, UInt64.self) { Float(Double(bitPattern: $0)) }
    case .f8e4m3: unsafe table(bytes, target, SmallFloat.e4m3Values)
    case .f8e5m2: unsafe table(bytes, target, SmallFloat.e5m2Values)
    case .f8e8m0: unsafe table(bytes, target, SmallFloat.e8m0Values)
    case .bool, .u8: unsafe each(bytes, target, UInt8.self) { Float($0) }
    case .i8: unsafe each(bytes, target, Int8.self) { Float($0) }
    case .i16: unsafe each(bytes, target, Int16.self) { Float($0) }
    case .u16: unsafe each(bytes, target, UInt16.self) { Float($0) }
    case .i32: unsafe each(bytes, target, Int32.self) { Float($0) }
    case .u32: unsafe each(bytes, target, UInt32.self) { Float($0) }
    case .i64: unsafe each(bytes, target, Int64.self) { Float($0) }
    case .u64: unsafe each(bytes, target, UInt64.self) { Float($0) }
    case .c64, .f4, .f6e2m3, .f6e3m2: preconditionFailure("refused by the initializer")
    }
  }

  @inline(__always)
  private func each<Stored: BitwiseCopyable>(
    _ bytes: UnsafeRawBufferPointer, _ target: UnsafeMutableBufferPointer<Float>, _: Stored.Type,
    _ value: (Stored) -> Float
  ) {
    for index in 0..<bytes.count / MemoryLayout<Stored>.size {
      let stored = unsafe bytes.loadUnaligned(
        fromByteOffset: index &* MemoryLayout<Stored>.size, as: Stored.self)
      unsafe target[index] = value(stored)
    }
  }

  @inline(__always)
  private func table(
    _ bytes: UnsafeRawBufferPointer, _ target: UnsafeMutableBufferPointer<Float>, _ values: [Float]
  ) {
    for index in 0..<bytes.count { unsafe target[index] = values[Int(bytes[index])] }
  }
}
