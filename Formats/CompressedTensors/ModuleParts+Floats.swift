import Codecs
import OrderedCollections
import TensorCore

extension ModuleParts {
  /// A weight of one byte a code; nil when it is stored as it was before quantization.
  func wholeBytes(
    _ codes: Tensor, _ configuration: CompressedTensorsConfiguration
  ) throws(CompressedTensorsError) -> EncodedMatrix? {
    if isStoredDense { return nil }
    guard codes.shape.rank == 2, codes.shape.elementCount > 0, codes.shape.elementCount < 1 << 48 else {
      throw .tensor(
        name: module + ".weight", problem: "a matrix is needed", expected: nil, found: "\(codes.shape)")
    }
    switch codes.elementType {
    case .i8: return try integers(codes)
    case .f8e4m3: return try eightBitFloats(codes, .e4m3, configuration)
    case .f8e5m2: return try eightBitFloats(codes, .e5m2, configuration)
    default:
      throw .unsupported(form: module, reason: "quantized weights of type \(codes.elementType.name)")
    }
  }

  // MARK: float-quantized and mxfp8-quantized

  private func eightBitFloats(
    _ codes: Tensor, _ format: Float8Codec.Format, _ configuration: CompressedTensorsConfiguration
  ) throws(CompressedTensorsError) -> EncodedMatrix {
    let scale = try required("weight_scale")
    let (rows, columns) = (codes.shape.dimensions[0], codes.shape.dimensions[1])
    guard zeroPoint == nil else {
      throw .unsupported(form: module, reason: "floats with a zero point")
    }
    if isExponent(scale) {
      guard format == .e4m3, scale.shape.dimensions == [rows, Checked.ceilingQuotient(columns, 32)] else {
        throw misfit("weight_scale", scale, expected: "[\(rows), \(Checked.ceilingQuotient(columns, 32))]")
      }
      return try matrix(MXFP8Codec(), rows, columns, ["codes": bytes(codes), "scales": bytes(scale)])
    }
    let granularity = try granularity(scale, rows: rows, columns: columns, configuration)
    let codec: Float8Codec
    do throws(CodecError) {
      codec = try Float8Codec(format, granularity: granularity, scaleType: scale.elementType)
    } catch { throw .codec(module: module, error) }
    return try matrix(codec, rows, columns, ["codes": bytes(codes), "scales": shaped(scale, codec, rows)])
  }

  /// What shares a scale, by the number of scales and, for rectangles and groups, by the configuration.
  private func granularity(
    _ scale: Tensor, rows: Int, columns: Int, _ configuration: CompressedTensorsConfiguration
  ) throws(CompressedTensorsError) -> Float8Codec.Granularity {
    let dimensions = scale.shape.dimensions
    if scale.shape.elementCount == 1 && dimensions != [rows, 1] { return .tensor }
    if dimensions == [rows, 1] || dimensions == [rows] { return .channel }
    for group in configuration.groups where group.arguments.kind == .float {
      guard case .block(let high, let wide) = group.arguments.strategy, high == wide,
        dimensions == [Checked.ceilingQuotient(rows, high), Checked.ceilingQuotient(columns, wide)]
      else { continue }
      return .block(high)
    }
    throw misfit("weight_scale", scale, expected: "[1], [\(rows), 1] or a scale for each block")
  }

  private func shaped(
    _ scale: Tensor, _ codec: Float8Codec, _ rows: Int
  ) throws(CompressedTensorsError) -> Tensor {
    do throws(TensorCoreError) {
      switch codec.granularity {
      case .tensor: return try scale.reshaped(to: [1])
      case .channel: return try scale.reshaped(to: Shape([rows, 1]))
      default: return scale
      }
    } catch { throw failure("weight_scale", error) }
  }

  // MARK: nvfp4-pack-quantized and mxfp4-pack-quantized

  /// Two 4-bit floats a byte, with a global scale (NVFP4) or without (MXFP4).
  func fourBitFloats(_ codes: Tensor) throws(CompressedTensorsError) -> EncodedMatrix {
    let (rows, columns) = (codes.shape.dimensions[0], codes.shape.dimensions[1] * 2)
    let scale = try required("weight_scale")
    guard let global = tensors[module + ".weight_global_scale"] else {
      guard isExponent(scale) else {
        throw .tensor(
          name: module + ".weight_scale", problem: "scales of another type",
          expected: "u8, or weight_global_scale beside them", found: scale.elementType.name)
      }
      guard columns % 32 == 0, scale.shape.dimensions == [rows, columns / 32] else {
        throw misfit("weight_scale", scale, expected: "[\(rows), \(Double(columns) / 32)]")
      }
      return try matrix(MXFP4Codec(), rows, columns, ["codes": bytes(codes), "scales": bytes(scale)])
    }
    guard scale.elementType == .f8e4m3, columns % 16 == 0, scale.shape.dimensions == [rows, columns / 16]
    else {
      throw misfit("weight_scale", scale, expected: "f8_e4m3 [\(rows), \(Double(columns) / 16)]")
    }
    guard global.shape.elementCount == 1, let divisor = (try? global.floats())?.first, divisor.isFinite,
      divisor > 0, (1 / divisor).isFinite
    else {
      throw misfit("weight_global_scale", global, expected: "one positive number")
    }
    var planes: OrderedDictionary = ["codes": try bytes(codes), "scales": try bytes(scale)]
    do throws(TensorCoreError) {
      planes["global_scale"] = try Tensor([1 / divisor], shape: [1])
      planes["global_divisor"] = try Tensor([divisor], shape: [1])
    } catch { throw failure("weight_global_scale", error) }
    return try matrix(NVFP4Codec(), rows, columns, planes)
  }

  // MARK: Both

  private func isExponent(_ scale: Tensor) -> Bool { [.u8, .f8e8m0].contains(scale.elementType) }

  private func required(_ part: String) throws(CompressedTensorsError) -> Tensor {
    guard let tensor = tensors["\(module).\(part)"] else {
      throw .tensor(name: "\(module).\(part)", problem: "the tensor is missing", expected: nil, found: nil)
    }
    return tensor
  }

  private func bytes(_ tensor: Tensor) throws(CompressedTensorsError) -> Tensor {
    do throws(TensorCoreError) { return try tensor.reinterpreted(as: .u8, shape: tensor.shape) } catch {
      throw failure("weight", error)
    }
  }

  private func matrix(
    _ codec: any Codec, _ rows: Int, _ columns: Int, _ planes: OrderedDictionary<String, Tensor>
  ) throws(CompressedTensorsError) -> EncodedMatrix {
    do throws(CodecError) {
      return try EncodedMatrix(codec: codec, rows: rows, columns: columns, planes: planes)
    } catch { throw .codec(module: module, error) }
  }

  private func misfit(_ part: String, _ tensor: Tensor, expected: String) -> CompressedTensorsError {
    .tensor(
      name: "\(module).\(part)", problem: "scales do not fit the weight", expected: expected,
      found: "\(tensor.elementType.name) \(tensor.shape)")
  }
}
