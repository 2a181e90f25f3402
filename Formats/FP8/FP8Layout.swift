import Codecs
import OrderedCollections
import SafeIO
import TensorCore

/// Weights in FP8 as vLLM's `fp8`, DeepSeek's block form, Mistral's own names and `fbgemm_fp8` store them.
///
/// A weight is read by the tensors that it has: `weight_scale` or `qscale_weight` of one number (per tensor) or one a row (per
/// channel), `weight_scale_inv` (or `weight_scale`) of one a block. All scales are multiplied, whatever their name says.
public enum FP8Layout {
  private static let scaleParts = ["weight_scale_inv", "weight_scale", "qscale_weight"]

  /// Joins codes and scales to weights; what scales activations or the KV cache goes to the companions.
  /// - Parameter configuration: the object `quantization_config` of `config.json`.
  /// - Throws: ``FP8Error``.
  public static func reading(
    tensors: OrderedDictionary<String, Tensor>, configuration: JSONValue
  ) throws(FP8Error) -> LayoutReading {
    let configuration = try FP8Configuration(configuration)
    var reading = LayoutReading()
    var bare: [String] = []
    for (name, tensor) in tensors {
      let parameter = ParameterName(name)
      if parameter.isActivationScale {
        reading.companions[name] = tensor
      } else if scaleParts.contains(parameter.part) {
        guard isCodes(tensors[parameter.module + ".weight"]) else {
          throw .tensor(
            name: name, problem: "there are no FP8 codes that it belongs to", expected: nil, found: nil)
        }
      } else if parameter.part == "weight", isCodes(tensor) {
        if let scale = try scale(of: parameter.module, tensors) {
          reading.weights[name] = .encoded(try matrix(name, tensor, scale, configuration))
        } else {
          bare.append(name)
          reading.weights[name] = .dense(tensor)
        }
      } else {
        reading.weights[name] = .dense(tensor)
      }
    }
    noteActivations(configuration, in: &reading)
    if let first = bare.first {
      reading.warnings.append("\(bare.count) FP8 weights have no scale and are taken as they are (\(first))")
    }
    return reading
  }

  private static func isCodes(_ tensor: Tensor?) -> Bool {
    tensor?.elementType == .f8e4m3 || tensor?.elementType == .f8e5m2
  }

  private static func scale(
    of module: String, _ tensors: OrderedDictionary<String, Tensor>
  ) throws(FP8Error) -> (name: String, tensor: Tensor)? {
    let found = scaleParts.compactMap { part in tensors[module + "." + part].map { (module + "." + part, $0) }
    }
    guard found.count < 2 else {
      throw .tensor(
        name: found[1].0, problem: "the weight has two scales", expected: "one", found: found[0].0)
    }
    return found.first
  }

  private static func matrix(
    _ name: String, _ codes: Tensor, _ scale: (name: String, tensor: Tensor),
    _ configuration: FP8Configuration
  ) throws(FP8Error) -> EncodedMatrix {
    guard codes.shape.rank == 2, codes.shape.elementCount > 0 else {
      throw .unsupported(form: name, reason: "codes of shape \(codes.shape) are no matrix")
    }
    let (rows, columns) = (codes.shape.dimensions[0], codes.shape.dimensions[1])
    let scales = try numbers(scale)
    let granularity = try granularity(
      rows: rows, columns: columns, scale.name, scales.shape, configuration)
    do throws(CodecError) {
      let codec = try Float8Codec(
        codes.elementType == .f8e4m3 ? .e4m3 : .e5m2, granularity: granularity, scaleType: scales.elementType)
      let planes: (Tensor, Tensor)
      do throws(TensorCoreError) {
        planes = (
          try codes.reinterpreted(as: .u8),
          try scales.reshaped(to: Shape(codec.scaleShape(rows: rows, columns: columns)))
        )
      } catch { throw CodecError.invalidParameters(codec: "fp8", reason: error.diagnostic.message) }
      return try EncodedMatrix(
        codec: codec, rows: rows, columns: columns, planes: ["codes": planes.0, "scales": planes.1])
    } catch { throw .codec(module: name, error) }
  }

  /// The scales as numbers of a type that the codec has, all of them finite; powers of two become f32.
  private static func numbers(_ scale: (name: String, tensor: Tensor)) throws(FP8Error) -> Tensor {
    let tensor = scale.tensor
    do throws(TensorCoreError) {
      let values = try tensor.floats()
      guard values.allSatisfy(\.isFinite) else {
        throw TensorCoreError.shapeMismatch(expected: "finite scales", found: "one that is not")
      }
      switch tensor.elementType {
      case .f32, .bf16, .f16: return tensor
      case .f8e8m0: return try Tensor(values, shape: tensor.shape)
      default: throw TensorCoreError.unsupportedElementType(tensor.elementType, purpose: "scales")
      }
    } catch { throw FP8Error(scale.name, error) }
  }

  private static func granularity(
    rows: Int, columns: Int, _ name: String, _ shape: Shape, _ configuration: FP8Configuration
  ) throws(FP8Error) -> Float8Codec.Granularity {
    func blocks(_ size: Int) -> [Int] {
      [Checked.ceilingQuotient(rows, size), Checked.ceilingQuotient(columns, size)]
    }
    if let size = configuration.blockSize {
      if shape.dimensions == blocks(size) { return .block(size) }
      if shape.rank == 4, shape.dimensions == [blocks(size)[0], 1, blocks(size)[1], 1] {
        return .block(size)
      }
    }
    if shape.elementCount == 1 { return .tensor }
    if shape.dimensions == [rows] || shape.dimensions == [rows, 1] { return .channel }
    if shape.dimensions == blocks(128) { return .block(128) }
    throw .tensor(
      name: name, problem: "scales do not fit the weight",
      expected: configuration.blockSize.map { "\(blocks($0))" } ?? "one, [\(rows), 1] or \(blocks(128))",
      found: "\(shape)")
  }
}
