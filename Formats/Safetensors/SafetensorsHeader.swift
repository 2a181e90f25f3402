import OrderedCollections
import SafeIO
import TensorCore

/// The parsed header of a file: every tensor at its place, checked against the size of the file.
struct SafetensorsHeader {
  private(set) var metadata: OrderedDictionary<String, String> = [:]
  private(set) var tensors: OrderedDictionary<String, Tensor> = [:]
  private(set) var warnings: [String] = []
  private let region: MemoryRegion
  private let file: String
  private let dataStart: Int
  private let dataEnd: Int
  private var unknownKeys = 0

  /// Parses and checks; touches no byte after the header.
  init(_ region: MemoryRegion, file: String, limits: Limits) throws(SafetensorsError) {
    self.region = region
    self.file = file
    dataStart = try SafetensorsHeader.dataStart(region, file: file, limits: limits)
    dataEnd = region.byteCount
    var reader = JSONReader(region, range: 8..<dataStart, file: file, limits: limits)
    do throws(SafeIOError) {
      try reader.beginObject()
    } catch { throw .io(error) }
    var hasMetadata = false
    while let name = try nextName(&reader) {
      if name == "__metadata__" {
        guard !hasMetadata else {
          throw .header(file: file, offset: reader.keyOffset, problem: "__metadata__ appears twice")
        }
        hasMetadata = true
        metadata = try readMetadata(&reader)
        continue
      }
      let entry = try readEntry(&reader, name)
      guard tensors.updateValue(entry, forKey: name) == nil else {
        throw .tensor(file: file, name: name, problem: "the name appears twice", expected: nil, found: nil)
      }
      guard tensors.count <= limits.maxTensors else {
        throw .io(.limit(file: file, what: "tensors", limit: limits.maxTensors, found: tensors.count))
      }
    }
    do throws(SafeIOError) { try reader.finish() } catch { throw .io(error) }
    try checkTiling()
    noteOddities()
  }

  /// Checks the length prefix and the first byte, and tells other formats by their first bytes.
  private static func dataStart(
    _ region: MemoryRegion, file: String, limits: Limits
  ) throws(SafetensorsError) -> Int {
    var reader = ByteReader(region, file: file)
    let length: UInt64
    do throws(SafeIOError) { length = try reader.readLittleEndian() } catch {
      throw ForeignFormat.error(region, file: file) ?? .io(error)
    }
    guard length >= 2, length <= UInt64(limits.maxHeaderBytes), length <= UInt64(region.byteCount - 8) else {
      throw ForeignFormat.error(region, file: file)
        ?? .headerLength(file: file, length: length, limit: min(limits.maxHeaderBytes, region.byteCount - 8))
    }
    guard unsafe region.withBytes({ unsafe $0[8] }) == UInt8(ascii: "{") else {
      throw ForeignFormat.error(region, file: file)
        ?? .header(file: file, offset: 8, problem: "the header must begin with {")
    }
    return 8 + Int(length)
  }

  private func nextName(_ reader: inout JSONReader) throws(SafetensorsError) -> String? {
    do throws(SafeIOError) { return try reader.nextKey() } catch { throw .io(error) }
  }

  private func readMetadata(
    _ reader: inout JSONReader
  ) throws(SafetensorsError) -> OrderedDictionary<String, String> {
    var result: OrderedDictionary<String, String> = [:]
    do throws(SafeIOError) {
      try reader.beginObject()
      while let key = try reader.nextKey() {
        let offset = reader.keyOffset
        guard reader.peek() == UInt8(ascii: "\"") else {
          throw reader.failure("metadata values must be strings")
        }
        guard result.updateValue(try reader.readString(), forKey: key) == nil else {
          throw reader.failure("a metadata key appears twice", at: offset)
        }
      }
    } catch { throw .io(error) }
    return result
  }

  // MARK: Entries

  private mutating func readEntry(
    _ reader: inout JSONReader, _ name: String
  ) throws(SafetensorsError) -> Tensor {
    var type: String?
    var dimensions: [Int64]?
    var range: [Int64]?
    do throws(SafeIOError) {
      try reader.beginObject()
      while let key = try reader.nextKey() {
        switch key {
        case "dtype" where type == nil: type = try reader.readString()
        case "shape" where dimensions == nil: dimensions = try readIntegers(&reader)
        case "data_offsets" where range == nil: range = try readIntegers(&reader)
        case "dtype", "shape", "data_offsets": throw reader.failure("the key \"\(key)\" appears twice")
        default:
          _ = try reader.readValue()
          unknownKeys += 1
        }
      }
    } catch { throw .io(error) }
    guard let type, let dimensions, let range else {
      throw failure(name, "dtype, shape and data_offsets are needed")
    }
    return try entry(name, type, dimensions, range)
  }

  private func readIntegers(_ reader: inout JSONReader) throws(SafeIOError) -> [Int64] {
    var result: [Int64] = []
    try reader.beginArray()
    while try reader.nextElement() { result.append(try reader.readInteger()) }
    return result
  }

  private func entry(
    _ name: String, _ type: String, _ dimensions: [Int64], _ range: [Int64]
  ) throws(SafetensorsError) -> Tensor {
    guard let elementType = ElementType(rawValue: type) else {
      throw failure(name, "unknown dtype", expected: "one of the format's types", found: type)
    }
    guard dimensions.count <= Limits.standard.maxRank else {
      throw failure(name, "too many dimensions", expected: "at most 64", found: "\(dimensions.count)")
    }
    guard range.count == 2, range[0] >= 0, range[0] <= range[1], range[1] <= Int64(dataEnd - dataStart) else {
      throw failure(
        name, "data_offsets must be a range inside the data",
        expected: "0 <= begin <= end <= \(dataEnd - dataStart)",
        found: "\(range)")
    }
    let tensor: Tensor
    do throws(TensorCoreError) {
      let shape = try Shape(dimensions.map { Int($0) })
      let byteCount = try elementType.byteCount(elements: shape.elementCount)
      guard Int64(byteCount) == range[1] - range[0] else {
        throw TensorCoreError.byteCountMismatch(expected: byteCount, found: Int(range[1] - range[0]))
      }
      tensor = try Tensor(
        elementType: elementType, shape: shape, region: region, byteOffset: dataStart + Int(range[0]))
    } catch {
      let diagnostic = error.diagnostic
      throw failure(
        name, "shape \(dimensions) of \(type): \(diagnostic.message)", expected: diagnostic.expected,
        found: diagnostic.found)
    }
    return tensor
  }

  private func failure(
    _ name: String, _ problem: String, expected: String? = nil, found: String? = nil
  ) -> SafetensorsError {
    .tensor(file: file, name: name, problem: problem, expected: expected, found: found)
  }

  // MARK: The data as a whole

  /// Ranges in order of their begin must follow each other without hole or overlap and end with the file.
  private func checkTiling() throws(SafetensorsError) {
    let values = tensors.values
    let order = values.indices.sorted { first, second in
      (values[first].byteOffset, values[first].byteCount, first) < (
        values[second].byteOffset, values[second].byteCount, second
      )
    }
    var position = dataStart
    var previous = "the header"
    for index in order {
      let tensor = values[index]
      let name = tensors.keys[index]
      guard tensor.byteOffset == position else {
        let problem =
          tensor.byteOffset < position
          ? "the data overlap those of"
          : "a hole of \(tensor.byteOffset - position) bytes between these data and"
        throw .neighbours(file: file, first: previous, second: name, problem: problem)
      }
      position = tensor.byteOffset + tensor.byteCount
      previous = name
    }
    guard position == dataEnd else {
      throw .header(
        file: file, offset: position, problem: "\(dataEnd - position) bytes after the data of '\(previous)'")
    }
  }

  private mutating func noteOddities() {
    let misaligned = tensors.values.count { tensor in
      tensor.elementType.bitWidth > 8 && tensor.byteOffset % (tensor.elementType.bitWidth / 8) != 0
    }
    if misaligned > 0 { warnings.append("\(misaligned) tensors are not aligned to their element size") }
    if unknownKeys > 0 { warnings.append("\(unknownKeys) unknown keys in tensor entries were passed over") }
  }
}
