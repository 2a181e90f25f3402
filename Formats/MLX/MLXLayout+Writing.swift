import Codecs
import OrderedCollections
import TensorCore

extension MLXLayout {
  /// Why the layout cannot hold matrices of a codec; nil when it can.
  public static func refusal(_ codec: any Codec, rows: Int, columns: Int) -> String? {
    switch codec {
    case let codec as AffineCodec:
      guard codec.bits != 7 else { return "MLX has no codes of 7 bits" }
      guard [32, 64, 128].contains(codec.groupSize) else { return "MLX has groups of 32, 64 and 128 only" }
      guard columns % codec.groupSize == 0 else {
        return "\(columns) columns are not whole groups of \(codec.groupSize)"
      }
      return nil
    case is MXFP4Codec, is MXFP8Codec: return nil
    case is NVFP4Codec: return "MLX's nvfp4 has no scale for the matrix as a whole"
    default: return "it holds affine codes, mxfp4 and mxfp8 only"
    }
  }

  /// The tensors of one quantized weight, which must be called `<module>.weight`.
  /// - Throws: ``MLXError/unrepresentable(weight:encoding:reason:)``.
  public static func tensors(
    of name: String, _ matrix: EncodedMatrix
  ) throws(MLXError) -> OrderedDictionary<String, Tensor> {
    let (module, codes, scales) = try parts(of: name, matrix)
    do throws(TensorCoreError) {
      let words = matrix.columns * arguments(matrix).bits / 32
      var result =
        [
          name: try codes.reinterpreted(as: .u32, shape: Shape([matrix.rows, words])),
          module + ".scales": scales,
        ] as OrderedDictionary
      if let biases = matrix.planes["biases"] { result[module + ".biases"] = biases }
      return result
    } catch { throw MLXError(name, error) }
  }

  /// How engines are told of a matrix.
  static func arguments(_ matrix: EncodedMatrix) -> MLXArguments {
    switch matrix.codec {
    case let codec as AffineCodec: MLXArguments(bits: codec.bits, groupSize: codec.groupSize)
    case is MXFP8Codec: MLXArguments(mode: .mxfp8, bits: 8, groupSize: 32)
    default: MLXArguments(mode: .mxfp4, bits: 4, groupSize: 32)
    }
  }
}
