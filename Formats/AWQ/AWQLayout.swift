import Codecs
import OrderedCollections
import SafeIO
import TensorCore

/// Quantized weights as AWQ checkpoints of version `gemm` store them in safetensors files: 4 bits, read and written.
public enum AWQLayout {
  /// Joins the tensors of each module to a weight.
  ///
  /// Codes are unpacked when they are first needed; shapes and types are looked at here.
  /// - Parameter configuration: `quantization_config` of `config.json`, or the older `quant_config.json`.
  /// - Throws: ``AWQError``.
  public static func reading(
    tensors: OrderedDictionary<String, Tensor>, configuration: JSONValue
  ) throws(AWQError) -> LayoutReading {
    let configuration = try AWQConfiguration(configuration)
    var reading = LayoutReading()
    for (name, tensor) in tensors {
      let (module, part) = ParameterName(name).split
      if part == "qweight" {
        let matrix = try matrix(module, tensors, configuration)
        reading.weights[module + ".weight"] = .encoded(matrix)
      } else if part == "qzeros" || (part == "scales" && ParameterName(module).part != "act") {
        guard tensors[module + ".qweight"] != nil else {
          throw .tensor(
            name: name, problem: "there are no codes that it belongs to", expected: nil, found: nil)
        }
      } else if part == "scales" {
        throw .unsupported(
          form: name, reason: "activations would have to be divided by it, which no supported model does")
      } else {
        reading.weights[name] = .dense(tensor)
      }
    }
    return reading
  }

  private static func matrix(
    _ module: String, _ tensors: OrderedDictionary<String, Tensor>, _ configuration: AWQConfiguration
  ) throws(AWQError) -> EncodedMatrix {
    let words = try matrix(module + ".qweight", among: tensors, of: [.i32])
    let scales = try matrix(module + ".scales", among: tensors, of: [.f16, .bf16, .f32])
    let (columns, rows) = (words.shape.dimensions[0], words.shape.dimensions[1] * 8)
    let groups = scales.shape.dimensions[0]
    let length = configuration.groupSize ?? columns
    guard scales.shape.dimensions[1] == rows, groups == Checked.ceilingQuotient(columns, length) else {
      throw .tensor(
        name: module + ".scales", problem: "scales do not fit codes and group size",
        expected: "[\(Checked.ceilingQuotient(columns, length)), \(rows)]", found: "\(scales.shape)")
    }
    var zeros: Tensor?
    if configuration.hasZeroPoints || tensors[module + ".qzeros"] != nil {
      let tensor = try matrix(module + ".qzeros", among: tensors, of: [.i32])
      guard tensor.shape.dimensions == [groups, rows / 8] else {
        throw .tensor(
          name: module + ".qzeros", problem: "zero points do not fit the scales",
          expected: "[\(groups), \(rows / 8)]", found: "\(tensor.shape)")
      }
      if configuration.hasZeroPoints || !isMiddle(tensor) { zeros = tensor }
    }
    do throws(CodecError) {
      let codec = try IntegerGroupCodec(
        bits: 4, groupSize: configuration.groupSize, isSymmetric: zeros == nil,
        scaleType: scales.elementType)
      var planes: OrderedDictionary<String, Tensor> = [:]
      do throws(TensorCoreError) {
        planes["codes"] = try OutputWords.codes(of: words)
        planes["scales"] = try scales.transposed()
        if let zeros { planes["zeros"] = try OutputWords.bytes(of: zeros) }
      } catch { throw CodecError.invalidParameters(codec: "awq", reason: error.diagnostic.message) }
      return try EncodedMatrix(codec: codec, rows: rows, columns: columns, planes: planes)
    } catch { throw .codec(module: module, error) }
  }

  /// Whether every zero point is 8, as in a file that is declared to have none.
  private static func isMiddle(_ zeros: Tensor) -> Bool {
    unsafe zeros.withBytes { bytes in unsafe bytes.allSatisfy { $0 == 0x88 } }
  }
}
