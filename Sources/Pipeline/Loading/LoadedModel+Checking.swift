import Codecs
import OrderedCollections
import TensorCore

extension LoadedModel {
  /// Refuses quantized weights whose scales are no numbers, which would silently turn all logits into NaN.
  ///
  /// Layouts look at shapes and types only, so that a model can be opened without reading it; this reads all scales.
  /// - Throws: ``PipelineError/weight(_:reason:)``.
  public func checkScales() throws(PipelineError) {
    guard case .checkpoint(let weights) = content else { return }
    for (name, weight) in weights {
      guard case .encoded(let matrix) = weight else { continue }
      for (plane, tensor) in matrix.planes where !tensor.isNumeric(in: matrix.codec, plane: plane) {
        throw .weight(name, reason: "plane '\(plane)' of \(matrix.codec.canonicalName) holds NaN or infinity")
      }
    }
  }
}

extension Tensor {
  /// Whether every element of a plane of scales is a finite number.
  fileprivate func isNumeric(in codec: any Codec, plane: String) -> Bool {
    switch elementType {
    case .f16: return !hasExponent(0x7C00, as: UInt16.self)
    case .bf16: return !hasExponent(0x7F80, as: UInt16.self)
    case .f32: return !hasExponent(0x7F80_0000, as: UInt32.self)
    case .u8 where plane == "scales" && codec is NVFP4Codec: return !hasExponent(0x7F, as: UInt8.self)
    case .u8 where plane == "scales" && (codec is MXFP4Codec || codec is MXFP8Codec):
      return !hasExponent(0xFF, as: UInt8.self)
    default: return true
    }
  }

  /// Whether an element has all bits of `mask`.
  private func hasExponent<Bits: FixedWidthInteger & BitwiseCopyable>(_ mask: Bits, as type: Bits.Type)
    -> Bool
  {
    unsafe withBytes { bytes in
      var found = false
      for index in 0..<shape.elementCount {
        let offset = index * MemoryLayout<Bits>.size
        let value = unsafe bytes.loadUnaligned(fromByteOffset: offset, as: type)
        if value & mask == mask { found = true }
      }
      return found
    }
  }
}
