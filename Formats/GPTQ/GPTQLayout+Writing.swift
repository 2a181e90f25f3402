import Codecs
import OrderedCollections
import SafeIO
import TensorCore

extension GPTQLayout {
  /// Why the layout cannot hold a matrix; nil when it can.
  public static func refusal(_ codec: any Codec, rows: Int, columns: Int) -> String? {
    guard let codec = codec as? IntegerGroupCodec else { return "it holds integers with scales only" }
    guard [2, 3, 4, 8].contains(codec.bits) else { return "codes have 2, 3, 4 or 8 bits" }
    guard codec.scaleType != .f32 else { return "scales are f16 or bf16" }
    guard columns % 32 == 0 else { return "\(columns) inputs do not fill words: a multiple of 32 is needed" }
    guard rows * codec.bits % 32 == 0 else {
      return
        "zero points of \(rows) outputs do not fill words: a multiple of \(codec.bits == 3 ? 32 : 32 / codec.bits) is needed"
    }
    let length = codec.groupLength(columns: columns)
    return columns % length == 0 ? nil : "\(columns) inputs are not whole groups of \(length)"
  }

  /// The version to write weights in: that of a GPTQ checkpoint that they come from; otherwise the first, which every engine
  /// reads, unless there are zero points of their own, which GPTQModel takes in the first version from its own writer only.
  /// - Parameter source: the `quantization_config` that the weights come from, of whatever layout.
  public static func version(
    for weights: OrderedDictionary<String, Weight>, source: JSONValue? = nil
  ) -> GPTQVersion {
    if let source, source["quant_method"]?.stringValue == "gptq",
      let configuration = try? GPTQConfiguration(source)
    {
      return configuration.version
    }
    let hasZeros = weights.values.contains { weight in
      if case .encoded(let matrix) = weight { matrix.planes["zeros"] != nil } else { false }
    }
    return hasZeros ? .v2 : .v1
  }

  /// The tensors of one quantized weight `<module>.weight`; the bytes are made when they are first needed.
  /// - Throws: ``GPTQError/unrepresentable(weight:encoding:reason:)``.
  public static func tensors(
    of name: String, _ matrix: EncodedMatrix, version: GPTQVersion = .v1
  ) throws(GPTQError) -> OrderedDictionary<String, Tensor> {
    let (module, codes, scales) = try parts(of: name, matrix)
    let codec = try codec(of: name, matrix, as: IntegerGroupCodec.self)
    let length = codec.groupLength(columns: matrix.columns)
    var result: OrderedDictionary<String, Tensor> = [:]
    do throws(TensorCoreError) {
      let words = try Shape([matrix.rows, matrix.columns * codec.bits / 32])
      result[module + ".qweight"] = try codes.reinterpreted(as: .i32, shape: words).transposed()
      result[module + ".qzeros"] = try packedZeros(matrix, codec, version)
      result[module + ".scales"] = try scales.transposed()
      if let index = matrix.planes["group_index"] {
        result[module + ".g_idx"] = index
      } else {
        let index = (0..<matrix.columns).map { Int32($0 / length) }
        result[module + ".g_idx"] = try Tensor(index, shape: Shape([matrix.columns]))
      }
    } catch { throw GPTQError(name, error) }
    return result
  }

  /// Zero points as words `[groups, rows * bits / 32]`.
  private static func packedZeros(
    _ matrix: EncodedMatrix, _ codec: IntegerGroupCodec, _ version: GPTQVersion
  ) throws(TensorCoreError) -> Tensor {
    let groups = codec.groupCount(columns: matrix.columns)
    let rows = matrix.rows
    let shape = try Shape([groups, rows * codec.bits / 32])
    let packing = FieldPacking(bits: codec.bits, isPlanar: false)
    let mask = UInt8(truncatingIfNeeded: codec.maximumCode)
    let zeros = matrix.planes["zeros"]
    let region = unsafe MemoryRegion.deferred(byteCount: shape.elementCount * 4) { target in
      let rowBytes = rows * packing.bits / 8
      var fields = [UInt8](repeating: UInt8(codec.middleCode), count: rows)
      var packed = [UInt8](repeating: 0, count: rowBytes)
      for group in 0..<groups {
        unsafe zeros?.withBytes { bytes in
          for row in 0..<rows { fields[row] = unsafe bytes[row * groups + group] }
        }
        let stored = version == .v1 ? fields.map { ($0 &- 1) & mask } : fields
        var span = packed.mutableSpan
        packing.pack(stored.span, into: &span)
        unsafe UnsafeMutableRawBufferPointer(rebasing: target[group * rowBytes..<(group + 1) * rowBytes])
          .copyBytes(from: packed)
      }
    }
    return try Tensor(elementType: .i32, shape: shape, region: region)
  }
}
