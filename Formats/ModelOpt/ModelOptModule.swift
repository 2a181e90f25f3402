import Codecs
import OrderedCollections
import TensorCore

/// The tensors of one quantized module.
struct ModelOptModule {
  private let name: String
  private let codes: Tensor
  private let tensors: OrderedDictionary<String, Tensor>
  private let configuration: ModelOptConfiguration

  init(
    _ name: String, _ codes: Tensor, _ tensors: OrderedDictionary<String, Tensor>,
    _ configuration: ModelOptConfiguration
  ) {
    self.name = name
    self.codes = codes
    self.tensors = tensors
    self.configuration = configuration
  }

  /// The matrix, by what its tensors look like.
  /// - Throws: ``ModelOptError``.
  func matrix() throws(ModelOptError) -> EncodedMatrix {
    guard codes.shape.rank == 2, codes.shape.elementCount > 0, codes.shape.elementCount < 1 << 46 else {
      throw .unsupported(form: name + ".weight", reason: "codes of shape \(codes.shape) are no matrix")
    }
    let scale = try part("weight_scale")
    switch (codes.elementType, scale.elementType) {
    case (.f8e4m3, _): return try float8(scale)
    case (.u8, .f8e4m3): return try nvfp4(scale)
    case (.u8, .f16), (.u8, .bf16), (.u8, .f32): return try integers4(scale)
    case (.i8, .f16), (.i8, .bf16), (.i8, .f32): return try integers8(scale)
    default:
      throw .unsupported(
        form: name + ".weight",
        reason: "codes of \(codes.elementType.name) with scales of \(scale.elementType.name)")
    }
  }

  private func part(_ part: String) throws(ModelOptError) -> Tensor {
    guard let tensor = tensors["\(name).\(part)"] else {
      throw .tensor(name: "\(name).\(part)", problem: "the tensor is missing", expected: nil, found: nil)
    }
    if tensor.elementType != .f8e4m3 {
      do throws(TensorCoreError) {
        guard try tensor.floats().allSatisfy(\.isFinite) else {
          throw TensorCoreError.shapeMismatch(expected: "finite scales", found: "one that is not")
        }
      } catch { throw ModelOptError("\(name).\(part)", error) }
    }
    return tensor
  }

  private func mismatch(_ part: String, _ expected: String, _ found: Tensor) -> ModelOptError {
    .tensor(
      name: "\(name).\(part)", problem: "scales do not fit the weight", expected: expected,
      found: "\(found.elementType.name) \(found.shape)")
  }

  private func float8(_ scale: Tensor) throws(ModelOptError) -> EncodedMatrix {
    let (rows, columns) = (codes.shape.dimensions[0], codes.shape.dimensions[1])
    let blocks = [Checked.ceilingQuotient(rows, 128), Checked.ceilingQuotient(columns, 128)]
    let shape = scale.shape.dimensions
    let granularity: Float8Codec.Granularity
    switch shape {
    case _ where scale.shape.elementCount == 1 && shape.count < 3: granularity = .tensor
    case [rows], [rows, 1]: granularity = .channel
    case blocks, [blocks[0], 1, blocks[1], 1]: granularity = .block(128)
    default: throw mismatch("weight_scale", "one, [\(rows)] or \(blocks)", scale)
    }
    return try encoded(rows, columns) { () throws(TensorCoreError) in
      [
        "codes": try codes.reinterpreted(as: .u8),
        "scales": try scale.reshaped(
          to: Shape(
            granularity == .tensor ? [1] : granularity == .channel ? [rows, 1] : blocks)),
      ]
    } codec: { () throws(CodecError) in
      try Float8Codec(.e4m3, granularity: granularity, scaleType: scale.elementType)
    }
  }

  private func nvfp4(_ scale: Tensor) throws(ModelOptError) -> EncodedMatrix {
    let (rows, columns) = (codes.shape.dimensions[0], codes.shape.dimensions[1] * 2)
    guard columns % 16 == 0, scale.shape.dimensions == [rows, columns / 16] else {
      throw mismatch("weight_scale", "f8_e4m3 [\(rows), \(columns / 16)]", scale)
    }
    let global = try part("weight_scale_2")
    guard global.shape.elementCount == 1, global.elementType == .f32 else {
      throw mismatch("weight_scale_2", "one f32", global)
    }
    return try encoded(rows, columns) { () throws(TensorCoreError) in
      [
        "codes": codes, "scales": try scale.reinterpreted(as: .u8),
        "global_scale": try global.reshaped(to: [1]),
      ]
    } codec: {
      NVFP4Codec()
    }
  }

  /// Two's complement nibbles: a byte holds an even row low and the odd row after it high.
  private func integers4(_ scale: Tensor) throws(ModelOptError) -> EncodedMatrix {
    let (rows, columns) = (codes.shape.dimensions[0] * 2, codes.shape.dimensions[1])
    let groups = scale.shape.rank == 2 ? scale.shape.dimensions[1] : 1
    guard scale.shape.elementCount == rows * groups, scale.shape.dimensions.first == rows, groups > 0,
      columns % groups == 0, configuration.groupSize.map({ $0 * groups == columns || groups == 1 }) ?? true
    else { throw mismatch("weight_scale", "[\(rows), groups]", scale) }
    guard tensors[name + ".weight_scale_2"] == nil else {
      throw .unsupported(
        form: name + ".weight_scale_2", reason: "4-bit integers with a second scale (W4A8) are not held")
    }
    return try encoded(rows, columns) { () throws(TensorCoreError) in
      [
        "codes": try packedRows(rows, columns), "scales": try scale.reshaped(to: Shape([rows, groups])),
      ]
    } codec: { () throws(CodecError) in
      try IntegerGroupCodec(
        bits: 4, groupSize: groups == 1 ? nil : columns / groups, scaleType: scale.elementType)
    }
  }

  private func packedRows(_ rows: Int, _ columns: Int) throws(TensorCoreError) -> Tensor {
    let rowBytes = BitPacking.bytesPerRow(count: columns, bits: 4)
    let region = unsafe MemoryRegion(byteCount: rows * rowBytes) { target in
      unsafe codes.withBytes { source in
        for row in 0..<rows {
          let shift = UInt8(row % 2 * 4)
          for column in 0..<columns {
            let code = ((unsafe source[row / 2 * columns + column] >> shift) & 15) ^ 8
            unsafe target[row * rowBytes + column / 2] |= code << UInt8(column % 2 * 4)
          }
        }
      }
    }
    return try Tensor(elementType: .u8, shape: Shape([rows, rowBytes]), region: region)
  }

  private func integers8(_ scale: Tensor) throws(ModelOptError) -> EncodedMatrix {
    let (rows, columns) = (codes.shape.dimensions[0], codes.shape.dimensions[1])
    guard [[rows], [rows, 1]].contains(scale.shape.dimensions) else {
      throw mismatch("weight_scale", "[\(rows)]", scale)
    }
    return try encoded(rows, columns) { () throws(TensorCoreError) in
      let region = unsafe MemoryRegion(byteCount: codes.byteCount) { target in
        unsafe codes.withBytes { source in
          for index in 0..<source.count { unsafe target[index] = source[index] ^ 0x80 }
        }
      }
      return [
        "codes": try Tensor(elementType: .u8, shape: codes.shape, region: region),
        "scales": try scale.reshaped(to: Shape([rows, 1])),
      ]
    } codec: { () throws(CodecError) in
      try IntegerGroupCodec(bits: 8, groupSize: nil, scaleType: scale.elementType)
    }
  }

  private func encoded(
    _ rows: Int, _ columns: Int, planes: () throws(TensorCoreError) -> OrderedDictionary<String, Tensor>,
    codec: () throws(CodecError) -> any Codec
  ) throws(ModelOptError) -> EncodedMatrix {
    let made: OrderedDictionary<String, Tensor>
    do throws(TensorCoreError) { made = try planes() } catch { throw ModelOptError(name + ".weight", error) }
    do throws(CodecError) {
      return try EncodedMatrix(codec: try codec(), rows: rows, columns: columns, planes: made)
    } catch { throw .codec(module: name, error) }
  }

  /// What the inputs are multiplied by; nil when nothing or by 1.
  /// - Throws: ``ModelOptError``.
  func inputFactors(columns: Int) throws(ModelOptError) -> [Float]? {
    guard tensors[name + ".pre_quant_scale"] != nil else { return nil }
    let tensor = try part("pre_quant_scale")
    guard tensor.shape.elementCount == columns, let factors = try? tensor.floats() else {
      throw mismatch("pre_quant_scale", "[\(columns)]", tensor)
    }
    return factors.allSatisfy { $0 == 1 } ? nil : factors
  }

  /// The values of a matrix with its columns multiplied, as f32.
  static func multiplied(
    _ name: String, _ matrix: EncodedMatrix, _ factors: [Float]
  ) throws(ModelOptError) -> Tensor {
    var values = matrix.decoded().values
    for index in values.indices { values[index] *= factors[index % matrix.columns] }
    do throws(TensorCoreError) {
      return try Tensor(values, shape: Shape([matrix.rows, matrix.columns]))
    } catch { throw ModelOptError(name, error) }
  }
}
