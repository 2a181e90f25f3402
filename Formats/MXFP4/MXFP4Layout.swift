import Codecs
import OrderedCollections
import SafeIO
import TensorCore

/// MXFP4 weights as gpt-oss checkpoints store them: `X_blocks` u8 `[..., rows, columns / 32, 16]` and `X_scales` u8
/// `[..., rows, columns / 32]`.
///
/// The matrices of stacked experts become weights of their own that look at the same bytes: `mlp.experts.down_proj_blocks`
/// becomes `mlp.experts.0.down_proj.weight` and so on. A single matrix becomes `X.weight`.
public enum MXFP4Layout {
  private static let blocks = "_blocks"
  private static let scales = "_scales"

  /// Takes stacks of blocks and scales apart.
  /// - Parameter configuration: the object `quantization_config` of `config.json`.
  /// - Throws: ``MXFP4Error``.
  public static func reading(
    tensors: OrderedDictionary<String, Tensor>, configuration: JSONValue
  ) throws(MXFP4Error) -> LayoutReading {
    if let method = configuration["quant_method"]?.stringValue, method != "mxfp4" {
      throw .configuration(key: "quant_method", problem: "another quantization method", found: method)
    }
    var reading = LayoutReading()
    for (name, tensor) in tensors {
      if name.hasSuffix(blocks), tensor.elementType == .u8 {
        let base = String(name.dropLast(blocks.count))
        guard let scale = tensors[base + scales] else {
          throw .tensor(name: base + scales, problem: "the tensor is missing", expected: nil, found: nil)
        }
        for (expert, matrix) in try matrices(base, tensor, scale) {
          reading.weights[expert] = .encoded(matrix)
        }
      } else if name.hasSuffix(scales), tensor.elementType == .u8 {
        guard tensors[name.dropLast(scales.count) + blocks] != nil else {
          throw .tensor(
            name: name, problem: "there are no blocks that it belongs to", expected: nil, found: nil)
        }
      } else if ParameterName(name).isActivationScale {
        reading.companions[name] = tensor
      } else {
        reading.weights[name] = .dense(tensor)
      }
    }
    return reading
  }

  private static func matrices(
    _ base: String, _ blocks: Tensor, _ scales: Tensor
  ) throws(MXFP4Error) -> OrderedDictionary<String, EncodedMatrix> {
    let shape = blocks.shape.dimensions
    guard (3...4).contains(shape.count), shape.last == 16, blocks.shape.elementCount > 0 else {
      throw .tensor(
        name: base + self.blocks, problem: "blocks have another shape",
        expected: "[rows, columns / 32, 16] or [experts, rows, columns / 32, 16]", found: "\(blocks.shape)")
    }
    guard scales.elementType == .u8, scales.shape.dimensions == Array(shape.dropLast()) else {
      throw .tensor(
        name: base + self.scales, problem: "scales do not fit the blocks",
        expected: "u8 \(shape.dropLast())", found: "\(scales.elementType.name) \(scales.shape)")
    }
    do throws(TensorCoreError) {
      guard shape.count == 4 else {
        return [base + ".weight": try matrix(base, blocks, scales)]
      }
      var result: OrderedDictionary<String, EncodedMatrix> = [:]
      let name = ParameterName(base)
      let (codes, factors) = (try blocks.unstacked(), try scales.unstacked())
      for expert in codes.indices {
        let module = name.module.isEmpty ? "\(expert)" : "\(name.module).\(expert)"
        result["\(module).\(name.part).weight"] = try matrix(base, codes[expert], factors[expert])
      }
      return result
    } catch { throw MXFP4Error(base + self.blocks, error) }
  }

  private static func matrix(
    _ name: String, _ blocks: Tensor, _ scales: Tensor
  ) throws(TensorCoreError) -> EncodedMatrix {
    let (rows, groups) = (blocks.shape.dimensions[0], blocks.shape.dimensions[1])
    let codes = try blocks.reshaped(to: Shape([rows, 16 * groups]))
    do throws(CodecError) {
      return try EncodedMatrix(
        codec: MXFP4Codec(), rows: rows, columns: 32 * groups, planes: ["codes": codes, "scales": scales])
    } catch {
      throw .shapeMismatch(expected: error.diagnostic.expected ?? "", found: error.diagnostic.message)
    }
  }
}
