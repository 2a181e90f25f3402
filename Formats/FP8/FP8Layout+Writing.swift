import Codecs
import OrderedCollections
import TensorCore

extension FP8Layout {
  /// Why the layout cannot hold matrices of a codec; nil when it can.
  public static func refusal(_ codec: any Codec, rows: Int, columns: Int) -> String? {
    guard let codec = codec as? Float8Codec else { return "it holds FP8 codes only" }
    guard codec.format == .e4m3 else { return "engines load E4M3 only" }
    if case .block(let size) = codec.granularity, size != 128 {
      return "engines load blocks of 128 x 128 only"
    }
    return nil
  }

  /// The tensors of one quantized weight, which must be called `<module>.weight`.
  /// - Throws: ``FP8Error/unrepresentable(weight:encoding:reason:)``.
  public static func tensors(
    of name: String, _ matrix: EncodedMatrix
  ) throws(FP8Error) -> OrderedDictionary<String, Tensor> {
    let (module, codes, scales) = try parts(of: name, matrix)
    let codec = try codec(of: name, matrix, as: Float8Codec.self)
    do throws(TensorCoreError) {
      let weight = try codes.reinterpreted(as: .f8e4m3)
      switch codec.granularity {
      case .tensor: return [name: weight, module + ".weight_scale": try scales.reshaped(to: [])]
      case .channel: return [name: weight, module + ".weight_scale": scales]
      case .block: return [name: weight, module + ".weight_scale_inv": scales]
      }
    } catch { throw FP8Error(name, error) }
  }
}
