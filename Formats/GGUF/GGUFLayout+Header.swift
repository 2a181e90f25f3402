import OrderedCollections
import TensorCore

extension GGUFLayout {
  /// All that lies before the first tensor: counts, metadata, what tensors there are, and padding when there are any.
  func header(version: UInt32) -> [UInt8] {
    var bytes = GGUFHeaderReader.magic
    bytes.appendInteger(version)
    bytes.appendInteger(UInt64(tensors.count))
    bytes.appendInteger(UInt64(metadata.count))
    for (key, value) in metadata {
      bytes.appendString(key.utf8)
      bytes.appendInteger(value.type.rawValue)
      bytes.appendValue(value)
    }
    for (index, (name, source)) in tensors.enumerated() {
      bytes.appendString(name.utf8)
      bytes.appendInteger(UInt32(source.shape.rank))
      for dimension in source.shape.dimensions.reversed() { bytes.appendInteger(UInt64(dimension)) }
      bytes.appendInteger(source.type.id)
      bytes.appendInteger(UInt64(offsets[index]))
    }
    let rest = bytes.count % alignment
    if rest != 0, !tensors.isEmpty { bytes.append(contentsOf: repeatElement(0, count: alignment - rest)) }
    return bytes
  }
}

extension [UInt8] {
  fileprivate mutating func appendInteger<Integer: FixedWidthInteger>(_ value: Integer) {
    for shift in 0..<Integer.bitWidth / 8 { append(UInt8(truncatingIfNeeded: value >> (8 * shift))) }
  }

  fileprivate mutating func appendString(_ bytes: some Collection<UInt8>) {
    appendInteger(UInt64(bytes.count))
    append(contentsOf: bytes)
  }

  fileprivate mutating func appendValue(_ value: GGUFValue) {
    switch value {
    case .uint8(let value): appendInteger(value)
    case .int8(let value): appendInteger(value)
    case .uint16(let value): appendInteger(value)
    case .int16(let value): appendInteger(value)
    case .uint32(let value): appendInteger(value)
    case .int32(let value): appendInteger(value)
    case .uint64(let value): appendInteger(value)
    case .int64(let value): appendInteger(value)
    case .float32(let value): appendInteger(value.bitPattern)
    case .float64(let value): appendInteger(value.bitPattern)
    case .bool(let value): append(value ? 1 : 0)
    case .string(let value): appendString(value.utf8)
    case .bytes(let value): appendString(value)
    case .array(let value): appendArray(value)
    }
  }

  private mutating func appendArray(_ array: GGUFArray) {
    appendInteger(array.elementType.rawValue)
    appendInteger(UInt64(array.count))
    switch array {
    case .uint8(let values): append(contentsOf: values)
    case .int8(let values): append(contentsOf: values.map { UInt8(bitPattern: $0) })
    case .uint16(let values): values.forEach { appendInteger($0) }
    case .int16(let values): values.forEach { appendInteger($0) }
    case .uint32(let values): values.forEach { appendInteger($0) }
    case .int32(let values): values.forEach { appendInteger($0) }
    case .uint64(let values): values.forEach { appendInteger($0) }
    case .int64(let values): values.forEach { appendInteger($0) }
    case .float32(let values): values.forEach { appendInteger($0.bitPattern) }
    case .float64(let values): values.forEach { appendInteger($0.bitPattern) }
    case .bool(let values): append(contentsOf: values.map { $0 ? 1 : 0 })
    case .string(let strings): strings.append(to: &self)
    case .array(let arrays): arrays.forEach { appendArray($0) }
    }
  }
}
