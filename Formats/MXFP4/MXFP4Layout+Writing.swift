import Codecs
import OrderedCollections
import SafeIO
import TensorCore

extension MXFP4Layout {
  /// Why the layout cannot hold matrices of a codec; nil when it can.
  public static func refusal(_ codec: any Codec, rows: Int, columns: Int) -> String? {
    codec is MXFP4Codec ? nil : "it holds mxfp4 only"
  }

  /// The object `quantization_config` for `config.json`.
  public static func quantizationConfiguration(ignored: [String]) -> JSONValue {
    ["quant_method": "mxfp4", "modules_to_not_convert": .array(ignored.map { .string($0) })]
  }

  /// The tensors of a checkpoint with these weights: experts that are numbered from 0 without gaps are stacked again,
  /// a single matrix keeps its name.
  /// - Throws: ``MXFP4Error/unrepresentable(weight:encoding:reason:)``.
  public static func tensors(
    for weights: OrderedDictionary<String, Weight>
  ) throws(MXFP4Error) -> OrderedDictionary<String, Tensor> {
    var result: OrderedDictionary<String, Tensor> = [:]
    var stacks: OrderedDictionary<String, [Int: (name: String, matrix: EncodedMatrix)]> = [:]
    for (name, weight) in weights {
      guard case .encoded(let matrix) = weight else {
        if case .dense(let tensor) = weight { result[name] = tensor }
        continue
      }
      let module = try module(of: name, matrix)
      guard let (base, expert) = expert(module) else {
        result.merge(try stacked(module, [matrix], isStack: false)) { $1 }
        continue
      }
      stacks[base, default: [:]][expert] = (name, matrix)
    }
    for (base, members) in stacks {
      let ordered = members.sorted { $0.key < $1.key }
      if let (index, gap) = ordered.enumerated().first(where: { $0 != $1.key }) {
        throw .unrepresentable(
          weight: gap.value.name, encoding: "mxfp4", reason: "expert \(index) of its stack is missing")
      }
      result.merge(try stacked(base, ordered.map(\.value.matrix), isStack: true)) { $1 }
    }
    return result
  }

  /// `a.experts.3.down_proj` as `a.experts.down_proj` and 3.
  private static func expert(_ module: String) -> (base: String, expert: Int)? {
    let name = ParameterName(module)
    let stack = ParameterName(name.module)
    guard let expert = Int(stack.part), expert >= 0, String(expert) == stack.part else { return nil }
    return (stack.module.isEmpty ? name.part : stack.module + "." + name.part, expert)
  }

  private static func stacked(
    _ base: String, _ matrices: [EncodedMatrix], isStack: Bool
  ) throws(MXFP4Error) -> OrderedDictionary<String, Tensor> {
    let (rows, columns) = (matrices[0].rows, matrices[0].columns)
    guard matrices.allSatisfy({ $0.rows == rows && $0.columns == columns }) else {
      throw .unrepresentable(weight: base, encoding: "mxfp4", reason: "experts of a stack have one shape")
    }
    let stack = isStack ? [matrices.count] : []
    do throws(TensorCoreError) {
      return [
        base + "_blocks": try joined(
          matrices.compactMap { $0.planes["codes"] }, Shape(stack + [rows, columns / 32, 16])),
        base + "_scales": try joined(
          matrices.compactMap { $0.planes["scales"] }, Shape(stack + [rows, columns / 32])),
      ]
    } catch { throw MXFP4Error(base, error) }
  }

  private static func joined(_ planes: [Tensor], _ shape: Shape) throws(TensorCoreError) -> Tensor {
    if planes.count == 1 { return try planes[0].reshaped(to: shape) }
    let region = unsafe MemoryRegion(byteCount: shape.elementCount) { target in
      var position = 0
      for plane in planes {
        unsafe plane.withBytes { source in
          unsafe UnsafeMutableRawBufferPointer(rebasing: target[position..<position + source.count])
            .copyMemory(from: source)
        }
        position += plane.byteCount
      }
    }
    return try Tensor(elementType: .u8, shape: shape, region: region)
  }
}
