import Codecs
import GraphIR

/// How the weights of a projection are kept while they are used: weights of one storage can be rows of one matrix, each as it is
/// and multiplied as it was.
///
/// Integer codes of up to four bits, and those of more, are of one storage each when the same columns share a scale: their
/// numbers, zero points and scales stay those of each row. Everything else is of its own kind.
struct ProjectionStorage: Hashable, CustomStringConvertible {
  let description: String

  /// The storages of constants; each encoding is looked up once.
  struct Catalog {
    private var codecs: [String: IntegerGroupCodec?] = [:]

    /// How a constant is stored.
    mutating func storage(of type: ConstantType) -> ProjectionStorage {
      ProjectionStorage(description: codes(type) ?? type.encoding)
    }

    /// The distinct storages of constants, in order.
    mutating func storages(of types: [ConstantType]) -> [ProjectionStorage] {
      var result: [ProjectionStorage] = []
      var last: ConstantType?
      for type in types where type != last {
        last = type
        let storage = storage(of: type)
        if !result.contains(storage) { result.append(storage) }
      }
      return result
    }

    private mutating func codes(_ type: ConstantType) -> String? {
      guard type.encoding.hasPrefix("int"), let columns = type.dimensions.last,
        let codec = codec(type.encoding), !codec.hasGroupIndex
      else { return nil }
      let length = codec.groupLength(columns: columns)
      // Scales of whole rows are stored for blocks of 128.
      let blocks = length >= columns ? 128 : [128, 64, 32].first { length % $0 == 0 }
      guard let blocks else { return nil }
      return "integers of \(codec.bits <= 4 ? 4 : 8) bits with scales for \(blocks) columns"
    }

    private mutating func codec(_ encoding: String) -> IntegerGroupCodec? {
      if let known = codecs[encoding] { return known }
      let codec = try? CodecRegistry.codec(canonicalName: encoding) as? IntegerGroupCodec
      codecs[encoding] = codec
      return codec
    }
  }
}
