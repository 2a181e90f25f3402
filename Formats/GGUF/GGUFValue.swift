/// The type of a metadata value, with its number in the file.
public enum GGUFValueType: UInt32, Sendable, CaseIterable {
  case uint8 = 0
  case int8 = 1
  case uint16 = 2
  case int16 = 3
  case uint32 = 4
  case int32 = 5
  case float32 = 6
  case bool = 7
  case string = 8
  case array = 9
  case uint64 = 10
  case int64 = 11
  case float64 = 12

  /// Bytes of the shortest value in the file.
  var minimumByteCount: Int {
    switch self {
    case .uint8, .int8, .bool: 1
    case .uint16, .int16: 2
    case .uint32, .int32, .float32: 4
    case .uint64, .int64, .float64, .string: 8
    case .array: 12
    }
  }
}

/// A metadata value.
public enum GGUFValue: Sendable, Equatable {
  case uint8(UInt8)
  case int8(Int8)
  case uint16(UInt16)
  case int16(Int16)
  case uint32(UInt32)
  case int32(Int32)
  case float32(Float)
  case bool(Bool)
  case string(String)
  case array(GGUFArray)
  case uint64(UInt64)
  case int64(Int64)
  case float64(Double)
  /// A string that is not UTF-8.
  case bytes([UInt8])

  /// The type that the file names.
  public var type: GGUFValueType {
    switch self {
    case .uint8: .uint8
    case .int8: .int8
    case .uint16: .uint16
    case .int16: .int16
    case .uint32: .uint32
    case .int32: .int32
    case .float32: .float32
    case .bool: .bool
    case .string, .bytes: .string
    case .array: .array
    case .uint64: .uint64
    case .int64: .int64
    case .float64: .float64
    }
  }

  /// The value of any integer type that fits.
  public var intValue: Int? {
    switch self {
    case .uint8(let value): Int(value)
    case .int8(let value): Int(value)
    case .uint16(let value): Int(value)
    case .int16(let value): Int(value)
    case .uint32(let value): Int(value)
    case .int32(let value): Int(value)
    case .uint64(let value): Int(exactly: value)
    case .int64(let value): Int(exactly: value)
    default: nil
    }
  }

  /// The value of a floating-point or integer type.
  public var doubleValue: Double? {
    switch self {
    case .float32(let value): Double(value)
    case .float64(let value): value
    default: intValue.map(Double.init)
    }
  }

  /// The text of a string; bytes that are not UTF-8 are replaced.
  public var stringValue: String? {
    switch self {
    case .string(let value): value
    case .bytes(let value): String(decoding: value, as: UTF8.self)
    default: nil
    }
  }

  /// The value of a truth value.
  public var boolValue: Bool? {
    if case .bool(let value) = self { value } else { nil }
  }

  /// The elements of an array.
  public var arrayValue: GGUFArray? {
    if case .array(let value) = self { value } else { nil }
  }
}

/// The elements of a metadata array, all of one type.
public enum GGUFArray: Sendable, Equatable {
  case uint8([UInt8])
  case int8([Int8])
  case uint16([UInt16])
  case int16([Int16])
  case uint32([UInt32])
  case int32([Int32])
  case float32([Float])
  case bool([Bool])
  case string(GGUFStrings)
  case array([GGUFArray])
  case uint64([UInt64])
  case int64([Int64])
  case float64([Double])

  /// Number of elements.
  public var count: Int {
    switch self {
    case .uint8(let values): values.count
    case .int8(let values): values.count
    case .uint16(let values): values.count
    case .int16(let values): values.count
    case .uint32(let values): values.count
    case .int32(let values): values.count
    case .float32(let values): values.count
    case .bool(let values): values.count
    case .string(let values): values.count
    case .array(let values): values.count
    case .uint64(let values): values.count
    case .int64(let values): values.count
    case .float64(let values): values.count
    }
  }

  /// The type of the elements that the file names.
  public var elementType: GGUFValueType {
    switch self {
    case .uint8: .uint8
    case .int8: .int8
    case .uint16: .uint16
    case .int16: .int16
    case .uint32: .uint32
    case .int32: .int32
    case .float32: .float32
    case .bool: .bool
    case .string: .string
    case .array: .array
    case .uint64: .uint64
    case .int64: .int64
    case .float64: .float64
    }
  }

  /// The elements of an array of strings.
  public var strings: GGUFStrings? {
    if case .string(let values) = self { values } else { nil }
  }

  /// The elements of an array of float32.
  public var floats: [Float]? {
    if case .float32(let values) = self { values } else { nil }
  }

  /// The elements of an array of any integer type; nil when one does not fit.
  public var integers: [Int]? {
    func fitting(_ values: [some FixedWidthInteger]) -> [Int]? {
      let result = values.compactMap { Int(exactly: $0) }
      return result.count == values.count ? result : nil
    }
    switch self {
    case .uint8(let values): return fitting(values)
    case .int8(let values): return fitting(values)
    case .uint16(let values): return fitting(values)
    case .int16(let values): return fitting(values)
    case .uint32(let values): return fitting(values)
    case .int32(let values): return fitting(values)
    case .uint64(let values): return fitting(values)
    case .int64(let values): return fitting(values)
    default: return nil
    }
  }
}
