import Codecs
import OrderedCollections
import SafeIO
import TensorCore

extension AWQLayout {
  /// Why the layout cannot hold a matrix; nil when it can.
  public static func refusal(_ codec: any Codec, rows: Int, columns: Int) -> String? {
    guard let codec = codec as? IntegerGroupCodec, codec.bits == 4 else {
      return "it holds 4-bit integers only"
    }
    guard codec.scaleType == .f16 else { return "scales are f16" }
    guard !codec.hasGroupIndex else { return "columns of a group must be neighbours (no act-order)" }
    guard rows % 8 == 0 else { return "\(rows) outputs do not fill words: a multiple of 8 is needed" }
    let length = codec.groupLength(columns: columns)
    return columns % length == 0 ? nil : "\(columns) inputs are not whole groups of \(length)"
  }

  /// The tensors of one quantized weight `<module>.weight`; the bytes are made when they are first needed.
  /// - Throws: ``AWQError/unrepresentable(weight:encoding:reason:)``.
  public static func tensors(
    of name: String, _ matrix: EncodedMatrix
  ) throws(AWQError) -> OrderedDictionary<String, Tensor> {
    let codec = try representable(name, matrix)
    let (module, codes, scales) = try parts(of: name, matrix)
    let groups = codec.groupCount(columns: matrix.columns)
    var result: OrderedDictionary<String, Tensor> = [:]
    do throws(TensorCoreError) {
      result[module + ".qweight"] = try OutputWords.words(of: codes, columns: matrix.columns)
      if let zeros = matrix.planes["zeros"] {
        result[module + ".qzeros"] = try OutputWords.words(ofBytes: zeros)
      } else {
        let shape = try Shape([groups, matrix.rows / 8])
        result[module + ".qzeros"] = try Tensor(
          bytes: [UInt8](repeating: 0x88, count: shape.elementCount * 4), elementType: .i32, shape: shape)
      }
      result[module + ".scales"] = try scales.transposed()
    } catch {
      throw .tensor(
        name: name, problem: error.diagnostic.message, expected: error.diagnostic.expected,
        found: error.diagnostic.found)
    }
    return result
  }

  /// The configuration of a checkpoint with these weights, `quantization_config` of `config.json`.
  ///
  /// Symmetric codes are written with zero points of 8. All modules must have one group size.
  /// - Parameter ignored: linear modules that are not quantized; `lm_head`, which never is, need not be said.
  /// - Throws: ``AWQError/unrepresentable(weight:encoding:reason:)``.
  public static func quantizationConfiguration(
    for weights: OrderedDictionary<String, Weight>, ignored: [String]
  ) throws(AWQError) -> JSONValue {
    var groupSize: Int?? = .none
    for (name, weight) in weights {
      guard case .encoded(let matrix) = weight else { continue }
      let codec = try representable(name, matrix)
      if let groupSize, groupSize != codec.groupSize {
        throw .unrepresentable(
          weight: name, encoding: codec.canonicalName, reason: "all modules must have one group size")
      }
      groupSize = .some(codec.groupSize)
    }
    let kept = ignored.filter { $0 != "lm_head" }
    return [
      "quant_method": "awq",
      "bits": 4,
      "group_size": JSONValue((groupSize ?? 128) ?? -1),
      "zero_point": true,
      "version": "gemm",
      "modules_to_not_convert": kept.isEmpty ? nil : .array(kept.map { .string($0) }),
    ]
  }

  /// The codec when the layout can hold its matrix.
  static func representable(_ name: String, _ matrix: EncodedMatrix) throws(AWQError) -> IntegerGroupCodec {
    let module = try module(of: name, matrix)
    guard module != "lm_head", !module.hasSuffix(".lm_head") else {
      throw .unrepresentable(
        weight: name, encoding: matrix.codec.canonicalName, reason: "the head is never quantized in it")
    }
    return try codec(of: name, matrix, as: IntegerGroupCodec.self)
  }
}
