import OrderedCollections
import SafeIO
import TensorCore

/// Reads the header of a file front to back; each count is checked against the bytes that are left before room is made.
struct GGUFHeaderReader {
  static let magic = Array("GGUF".utf8)
  static let maximumKeyByteCount = 65535
  static let maximumNameByteCount = 63
  static let maximumRank = 4
  static let defaultAlignment = 32
  private static let maximumEntryCount = 1 << 20
  private static let maximumAlignment = 1 << 20

  private(set) var version: UInt32 = 0
  private(set) var metadata: OrderedDictionary<String, GGUFValue> = [:]
  private(set) var tensors: OrderedDictionary<String, GGUFTensor> = [:]
  private(set) var alignment = GGUFHeaderReader.defaultAlignment
  private(set) var dataOffset = 0
  private(set) var warnings: [String] = []
  private let file: String
  private let limits: Limits
  private let fileByteCount: Int
  private var reader: ByteReader
  private var oddStrings = 0

  init(_ region: MemoryRegion, file: String, limits: Limits) throws(GGUFError) {
    self.file = file
    self.limits = limits
    fileByteCount = region.byteCount
    reader = ByteReader(region, file: file)
    guard let magic = try? reader.readBytes(4), magic == GGUFHeaderReader.magic else {
      throw .notGGUF(file: file)
    }
    let counts: (tensors: UInt64, entries: UInt64)
    do throws(SafeIOError) {
      version = try reader.readLittleEndian()
      try checkVersion()
      counts = try (reader.readLittleEndian(), reader.readLittleEndian())
      // A tensor has at least name length, rank, type and offset; an entry key length, type and one byte.
      _ = try reader.require(count: counts.tensors, minimumByteCount: 24)
      _ = try reader.require(count: counts.entries, minimumByteCount: 13)
    } catch {
      if let found = unreadableVersion { throw found }
      throw .io(error)
    }
    guard counts.tensors <= UInt64(limits.maxTensors) else {
      throw .io(
        .limit(file: file, what: "tensors", limit: limits.maxTensors, found: Int(clamping: counts.tensors)))
    }
    guard counts.entries <= UInt64(GGUFHeaderReader.maximumEntryCount) else {
      throw .io(
        .limit(
          file: file, what: "metadata entries", limit: GGUFHeaderReader.maximumEntryCount,
          found: Int(clamping: counts.entries)))
    }
    for _ in 0..<counts.entries { try readEntry() }
    try readAlignment()
    try readTensors(count: Int(counts.tensors))
    noteOddities()
  }

  private var unreadableVersion: GGUFError? {
    switch version {
    case 2, 3: nil
    case 1:
      .version(file: file, found: "1", hint: "convert the file again; version 1 was in use for a few days")
    case 0x0200_0000, 0x0300_0000:
      .version(file: file, found: "a big-endian file", hint: "convert it to little-endian")
    default: .version(file: file, found: "\(version)", hint: "use a newer Adze")
    }
  }

  private func checkVersion() throws(SafeIOError) {
    guard unreadableVersion == nil else { throw .malformed(file: file, offset: 4, problem: "version") }
  }

  // MARK: Metadata

  private mutating func readEntry() throws(GGUFError) {
    let start = reader.offset
    let key: String
    let type: UInt32
    do throws(SafeIOError) {
      let count = try reader.readLittleEndian(UInt64.self)
      guard count <= UInt64(GGUFHeaderReader.maximumKeyByteCount) else {
        throw SafeIOError.limit(
          file: file, what: "bytes of a key", limit: GGUFHeaderReader.maximumKeyByteCount,
          found: Int(clamping: count))
      }
      key = try reader.readText(Int(count))
      type = try reader.readLittleEndian()
    } catch { throw .io(error) }
    guard !key.isEmpty else {
      throw .metadata(file: file, key: key, offset: start, problem: "an empty key", found: nil)
    }
    let value = try readValue(type, key: key, depth: 0)
    guard metadata.updateValue(value, forKey: key) == nil else {
      throw .metadata(file: file, key: key, offset: start, problem: "the key appears twice", found: nil)
    }
  }

  private mutating func readValue(_ type: UInt32, key: String, depth: Int) throws(GGUFError) -> GGUFValue {
    let start = reader.offset
    guard let type = GGUFValueType(rawValue: type) else {
      throw .metadata(
        file: file, key: key, offset: start - 4, problem: "unknown type of value", found: "\(type)")
    }
    do throws(SafeIOError) {
      switch type {
      case .uint8: return .uint8(try reader.readLittleEndian())
      case .int8: return .int8(try reader.readLittleEndian())
      case .uint16: return .uint16(try reader.readLittleEndian())
      case .int16: return .int16(try reader.readLittleEndian())
      case .uint32: return .uint32(try reader.readLittleEndian())
      case .int32: return .int32(try reader.readLittleEndian())
      case .uint64: return .uint64(try reader.readLittleEndian())
      case .int64: return .int64(try reader.readLittleEndian())
      case .float32: return .float32(try reader.readFloat())
      case .float64: return .float64(try reader.readDouble())
      case .bool: return .bool(try readBool())
      case .string: return try readString()
      case .array: break
      }
    } catch { throw .io(error) }
    return .array(try readArray(key: key, depth: depth + 1))
  }

  private mutating func readArray(key: String, depth: Int) throws(GGUFError) -> GGUFArray {
    guard depth <= limits.maxJSONDepth else {
      throw .metadata(
        file: file, key: key, offset: reader.offset,
        problem: "arrays are nested deeper than \(limits.maxJSONDepth)",
        found: nil)
    }
    let type: UInt32
    let announced: UInt64
    do throws(SafeIOError) {
      type = try reader.readLittleEndian()
      announced = try reader.readLittleEndian()
    } catch { throw .io(error) }
    guard let type = GGUFValueType(rawValue: type) else {
      throw .metadata(
        file: file, key: key, offset: reader.offset - 12, problem: "unknown type of elements",
        found: "\(type)")
    }
    do throws(SafeIOError) {
      let count = try reader.require(count: announced, minimumByteCount: type.minimumByteCount)
      switch type {
      case .uint8: return .uint8(try reader.readBytes(count))
      case .int8: return .int8(try integers(count))
      case .uint16: return .uint16(try integers(count))
      case .int16: return .int16(try integers(count))
      case .uint32: return .uint32(try integers(count))
      case .int32: return .int32(try integers(count))
      case .uint64: return .uint64(try integers(count))
      case .int64: return .int64(try integers(count))
      case .float32:
        return .float32(try elements(count) { reader throws(SafeIOError) in try reader.reader.readFloat() })
      case .float64:
        return .float64(try elements(count) { reader throws(SafeIOError) in try reader.reader.readDouble() })
      case .bool: return .bool(try elements(count) { reader throws(SafeIOError) in try reader.readBool() })
      case .string: return .string(try readStrings(count))
      case .array: break
      }
    } catch { throw .io(error) }
    var arrays: [GGUFArray] = []
    for _ in 0..<announced { arrays.append(try readArray(key: key, depth: depth + 1)) }
    return .array(arrays)
  }

  private mutating func integers<Integer: FixedWidthInteger & BitwiseCopyable>(
    _ count: Int
  ) throws(SafeIOError) -> [Integer] {
    try elements(count) { reader throws(SafeIOError) in try reader.reader.readLittleEndian() }
  }

  private mutating func elements<Element>(
    _ count: Int, _ read: (inout GGUFHeaderReader) throws(SafeIOError) -> Element
  ) throws(SafeIOError) -> [Element] {
    var result: [Element] = []
    result.reserveCapacity(count)
    for _ in 0..<count { result.append(try read(&self)) }
    return result
  }

  private mutating func readBool() throws(SafeIOError) -> Bool {
    let start = reader.offset
    let byte = try reader.readLittleEndian(UInt8.self)
    guard byte <= 1 else { throw .malformed(file: file, offset: start, problem: "a truth value of \(byte)") }
    return byte == 1
  }

  /// A string of any bytes; those that are not UTF-8 are counted.
  private mutating func readString() throws(SafeIOError) -> GGUFValue {
    let bytes = try reader.readBytes(readStringLength())
    if let text = String(validating: bytes, as: UTF8.self) { return .string(text) }
    oddStrings += 1
    return .bytes(bytes)
  }

  private mutating func readStringLength() throws(SafeIOError) -> Int {
    let count = try reader.require(count: reader.readLittleEndian(), minimumByteCount: 1)
    guard count <= limits.maxStringBytes else {
      throw .limit(file: file, what: "bytes of a string", limit: limits.maxStringBytes, found: count)
    }
    return count
  }

  /// Strings stay in the file; only their places are kept.
  private mutating func readStrings(_ count: Int) throws(SafeIOError) -> GGUFStrings {
    let start = reader.offset
    var starts: [UInt32] = []
    starts.reserveCapacity(count)
    var kept = start
    for _ in 0..<count {
      guard let place = UInt32(exactly: reader.offset - start) else {
        throw .limit(
          file: file, what: "bytes of a list of strings", limit: Int(UInt32.max), found: reader.offset - start
        )
      }
      starts.append(place)
      try reader.skip(readStringLength())
      // Only lengths are wanted now: what was passed over leaves the memory, so that opening a file stays small.
      if reader.offset - kept >= 1 << 20 {
        reader.region.discard(kept..<reader.offset)
        kept = reader.offset
      }
    }
    return GGUFStrings(region: reader.region, starts: starts, range: start..<reader.offset)
  }

  private mutating func readAlignment() throws(GGUFError) {
    guard let value = metadata["general.alignment"] else { return }
    guard case .uint32(let number) = value else {
      throw .metadata(
        file: file, key: "general.alignment", offset: 0, problem: "the alignment must be of type u32",
        found: "\(value)")
    }
    guard let alignment = GGUFHeaderReader.alignment(number) else {
      throw .metadata(
        file: file, key: "general.alignment", offset: 0,
        problem: "the alignment must be a power of two up to \(GGUFHeaderReader.maximumAlignment)",
        found: "\(number)")
    }
    self.alignment = alignment
  }

  /// The alignment that a file asks for; nil when it cannot be one.
  static func alignment(_ number: UInt32) -> Int? {
    let isPowerOfTwo = number > 0 && number & (number - 1) == 0
    return isPowerOfTwo && number <= UInt32(maximumAlignment) ? Int(number) : nil
  }

  // MARK: Tensors

  private struct Entry {
    var name: String
    var shape: Shape
    var type: GGUFTensorType
    var offset: UInt64
    var byteCount: Int
  }

  private mutating func readTensors(count: Int) throws(GGUFError) {
    var entries: [Entry] = []
    for _ in 0..<count { entries.append(try readTensor()) }
    dataOffset = (reader.offset + alignment - 1) / alignment * alignment
    var position = 0
    for entry in entries {
      guard entry.offset == UInt64(position) else {
        throw failure(
          entry.name, "the data do not follow those of the tensor before", expected: "offset \(position)",
          found: "\(entry.offset)")
      }
      let available = max(fileByteCount - dataOffset, 0) - position
      guard entry.byteCount <= available else {
        throw failure(
          entry.name, "the data end beyond the file",
          expected: "at most \(max(available, 0)) bytes at offset \(position)",
          found: "\(entry.byteCount)")
      }
      let tensor = GGUFTensor(
        name: entry.name, shape: entry.shape, type: entry.type, offset: dataOffset + position,
        byteCount: entry.byteCount)
      guard tensors.updateValue(tensor, forKey: entry.name) == nil else {
        throw failure(entry.name, "the name appears twice")
      }
      // Both terms lie within the file, so that the sum cannot overflow.
      position = (position + entry.byteCount + alignment - 1) / alignment * alignment
    }
    if !entries.isEmpty && fileByteCount > dataOffset + position {
      warnings.append("\(fileByteCount - dataOffset - position) bytes follow the last tensor")
    }
  }

  private mutating func readTensor() throws(GGUFError) -> Entry {
    let name: String
    let rank: UInt32
    var dimensions: [UInt64] = []
    let type: UInt32
    let offset: UInt64
    do throws(SafeIOError) {
      let count = try reader.readLittleEndian(UInt64.self)
      guard count <= UInt64(GGUFHeaderReader.maximumNameByteCount) else {
        throw SafeIOError.limit(
          file: file, what: "bytes of a tensor's name", limit: GGUFHeaderReader.maximumNameByteCount,
          found: Int(clamping: count))
      }
      name = try reader.readText(Int(count))
      rank = try reader.readLittleEndian()
      guard rank <= UInt32(GGUFHeaderReader.maximumRank) else {
        throw SafeIOError.limit(
          file: file, what: "dimensions of a tensor", limit: GGUFHeaderReader.maximumRank, found: Int(rank))
      }
      for _ in 0..<rank { dimensions.append(try reader.readLittleEndian()) }
      type = try reader.readLittleEndian()
      offset = try reader.readLittleEndian()
    } catch { throw .io(error) }
    guard let type = GGUFTensorType(id: type) else { throw failure(name, "unknown type", found: "\(type)") }
    guard dimensions.allSatisfy({ $0 > 0 }) else {
      throw failure(name, "a dimension is zero", found: "\(dimensions)")
    }
    do throws(TensorCoreError) {
      var sizes: [Int] = []
      for dimension in dimensions.reversed() { sizes.append(try Checked.int(dimension)) }
      let shape = try Shape(sizes)
      return Entry(name: name, shape: shape, type: type, offset: offset, byteCount: try type.byteCount(shape))
    } catch {
      throw failure(
        name, "dimensions \(dimensions) of \(type.name): \(error.diagnostic.message)",
        expected: error.diagnostic.expected, found: error.diagnostic.found)
    }
  }

  private mutating func noteOddities() {
    if oddStrings > 0 {
      warnings.append("\(oddStrings) strings of the metadata are not UTF-8")
    }
    let isLaterPart = (metadata[GGUFSplit.numberKey]?.intValue ?? 0) > 0
    if metadata["general.architecture"]?.stringValue == nil && !isLaterPart {
      warnings.append("general.architecture is missing")
    }
  }

  private func failure(
    _ name: String, _ problem: String, expected: String? = nil, found: String? = nil
  ) -> GGUFError {
    .tensor(file: file, name: name, problem: problem, expected: expected, found: found)
  }
}
