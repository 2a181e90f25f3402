import OrderedCollections
import SafeIO
import TensorCore

/// One entry of a journal: a value for reading back, and tensors.
public struct JournalRecord: Sendable {
  /// Anything that JSON holds.
  public var value: JSONValue
  /// Tensors by name, in order.
  public var tensors: OrderedDictionary<String, Tensor>

  /// Creates a record.
  public init(_ value: JSONValue, tensors: OrderedDictionary<String, Tensor> = [:]) {
    self.value = value
    self.tensors = tensors
  }

  /// The text that precedes the bytes of the tensors.
  var head: [UInt8] {
    let table = tensors.map { name, tensor in
      JSONValue.object([
        "name": .string(name), "type": .string(tensor.elementType.rawValue),
        "shape": .array(tensor.shape.dimensions.map { JSONValue($0) }),
      ])
    }
    return Array(JSONValue.object(["value": value, "tensors": .array(table)]).serialized().utf8)
  }

  /// Reads the body of a record: `u32` bytes of the head, the head, then the tensors without gaps.
  /// - Throws: ``JournalError/damaged(file:offset:problem:)``.
  init(body: Range<Int>, of region: MemoryRegion, file: String) throws(JournalError) {
    do {
      var reader = ByteReader(region, file: file)
      try reader.skip(body.lowerBound)
      let headCount = Int(try reader.readLittleEndian(UInt32.self))
      guard headCount <= body.upperBound - reader.offset else {
        throw JournalError.damaged(
          file: file, offset: body.lowerBound, problem: "the head is longer than the record")
      }
      let head = try JSONValue.parse(reader.readBytes(headCount), file: file)
      value = head["value"] ?? .null
      tensors = try JournalRecord.tensors(
        head["tensors"]?.arrayValue ?? [], in: region, from: reader.offset, to: body.upperBound)
    } catch let error as JournalError {
      throw error
    } catch let error as any DiagnosableError {
      throw .damaged(file: file, offset: body.lowerBound, problem: error.diagnostic.message)
    } catch {
      throw .damaged(file: file, offset: body.lowerBound, problem: "\(error)")
    }
  }

  private static func tensors(
    _ table: [JSONValue], in region: MemoryRegion, from start: Int, to end: Int
  ) throws -> OrderedDictionary<String, Tensor> {
    var result: OrderedDictionary<String, Tensor> = [:]
    var offset = start
    for entry in table {
      guard let name = entry["name"]?.stringValue,
        let type = entry["type"]?.stringValue.flatMap(ElementType.init(rawValue:)),
        let dimensions = entry["shape"]?.arrayValue?.map({ $0.intValue ?? -1 })
      else { throw TensorCoreError.shapeMismatch(expected: "a named tensor", found: entry.serialized()) }
      let tensor = try Tensor(
        elementType: type, shape: Shape(dimensions), region: region, byteOffset: offset)
      offset += tensor.byteCount
      guard offset <= end, result.updateValue(tensor, forKey: name) == nil else {
        throw TensorCoreError.byteCountMismatch(expected: end - start, found: offset - start)
      }
    }
    guard offset == end else {
      throw TensorCoreError.byteCountMismatch(expected: end - start, found: offset - start)
    }
    return result
  }
}
