import Codecs
import OrderedCollections
import TensorCore

extension ModelOptLayout {
  /// Why the layout cannot hold matrices of a codec; nil when it can.
  public static func refusal(_ codec: any Codec, rows: Int, columns: Int) -> String? {
    switch codec {
    case let codec as Float8Codec:
      guard codec.format == .e4m3 else { return "its FP8 is E4M3" }
      if case .block = codec.granularity { return "its FP8 has a scale per tensor or per channel" }
      return nil
    case is NVFP4Codec: return nil
    default: return "it holds fp8_e4m3 and nvfp4 only"
    }
  }

  /// The tensors of one quantized weight, which must be called `<module>.weight`.
  /// - Throws: ``ModelOptError/unrepresentable(weight:encoding:reason:)``.
  public static func tensors(
    of name: String, _ matrix: EncodedMatrix
  ) throws(ModelOptError) -> OrderedDictionary<String, Tensor> {
    let (module, codes, scales) = try parts(of: name, matrix)
    do throws(TensorCoreError) {
      switch algorithm(matrix) {
      case "NVFP4":
        var result: OrderedDictionary = [
          name: codes, module + ".weight_scale": try scales.reinterpreted(as: .f8e4m3),
        ]
        if let global = matrix.planes["global_scale"] {
          result[module + ".weight_scale_2"] = try global.reshaped(to: [])
        }
        return result
      case "FP8":
        return [
          name: try codes.reinterpreted(as: .f8e4m3), module + ".weight_scale": try scales.reshaped(to: []),
        ]
      default:
        return [
          name: try codes.reinterpreted(as: .f8e4m3),
          module + ".weight_scale": try scales.reshaped(to: Shape([matrix.rows])),
        ]
      }
    } catch { throw ModelOptError(name, error) }
  }

  /// Modules whose engines expect a static scale of their inputs (`input_scale`) that is not among the companions.
  public static func modulesWithoutInputScale(
    _ weights: OrderedDictionary<String, Weight>, companions: OrderedDictionary<String, Tensor>
  ) -> [String] {
    weights.compactMap { name, weight in
      guard case .encoded(let matrix) = weight else { return nil }
      let isDynamic = (matrix.codec as? Float8Codec)?.granularity == .channel
      let module = ParameterName(name).module
      return isDynamic || companions[module + ".input_scale"] != nil ? nil : module
    }
  }

  /// The name of the algorithm that a matrix is written as.
  static func algorithm(_ matrix: EncodedMatrix) -> String {
    guard let codec = matrix.codec as? Float8Codec else { return "NVFP4" }
    return codec.granularity == .tensor ? "FP8" : "FP8_PER_CHANNEL_PER_TOKEN"
  }
}
