import CKernels
import TensorCore

/// The block kernels of one instruction set; every one gives the same bytes and floats.
@safe
package struct BlockKernels: Sendable {
  private let table: ck_block_table

  private init?(_ instructionSet: Int32) {
    guard let table = unsafe ck_block_table_for(instructionSet)?.pointee else { return nil }
    self.table = table
  }

  /// Those of this processor, slowest first; the portable ones are always there.
  package static let available = [CK_PORTABLE, CK_AVX2, CK_AVX512].compactMap { BlockKernels(Int32($0)) }

  /// The fastest.
  package static let best = available[available.count - 1]

  func decode(
    _ format: GGMLCodec.Format, _ blocks: UnsafePointer<UInt8>, count: Int,
    into target: UnsafeMutablePointer<Float>
  ) {
    unsafe withFunctions(table.decode, format.kernel) { (function: ck_decode_blocks_fn?) in
      unsafe function?(blocks, count, target)
    }
  }

  func encode(_ format: GGMLCodec.Format, _ task: ck_block_task) {
    var task = unsafe task
    unsafe withFunctions(table.encode, format.kernel) { (function: ck_encode_blocks_fn?) in
      unsafe function?(&task)
    }
  }

  /// The largest magnitude; nil where a value is not finite.
  func largestMagnitude(_ values: UnsafePointer<Float>, count: Int) -> Float? {
    let magnitude = unsafe table.magnitude(values, count)
    return magnitude.isFinite ? magnitude : nil
  }

  /// How far `second` is from `first`.
  func difference(
    _ first: UnsafePointer<Float>, _ second: UnsafePointer<Float>, count: Int
  ) -> ValueDifference {
    var result = SIMD4<Float>()
    unsafe withUnsafeMutableBytes(of: &result) { bytes in
      unsafe table.difference(first, second, count, bytes.assumingMemoryBound(to: Float.self).baseAddress)
    }
    return ValueDifference(
      maximum: result[0], magnitude: result[1], squares: Double(result[2]), energy: Double(result[3]))
  }

  /// Writes elements of a bf16 or f16 tensor to `target`, which must hold them.
  func widen(_ tensor: Tensor, _ elements: Range<Int>, into target: UnsafeMutableBufferPointer<Float>) {
    precondition(
      elements.lowerBound >= 0 && elements.upperBound <= tensor.shape.elementCount
        && target.count >= elements.count, "elements out of range")
    unsafe tensor.withBytes { bytes in
      guard let start = target.baseAddress, let source = bytes.baseAddress, !elements.isEmpty else { return }
      let first = unsafe (source + 2 * elements.lowerBound).assumingMemoryBound(to: UInt16.self)
      if tensor.elementType == .bf16 {
        unsafe widen(bf16: first, into: start, count: elements.count)
      } else {
        unsafe widen(f16: first, into: start, count: elements.count)
      }
    }
  }

  func widen(bf16 source: UnsafePointer<UInt16>, into target: UnsafeMutablePointer<Float>, count: Int) {
    unsafe table.widen_bf16(source, target, count)
  }

  func widen(f16 source: UnsafePointer<UInt16>, into target: UnsafeMutablePointer<Float>, count: Int) {
    unsafe table.widen_f16(source, target, count)
  }

  /// An element of a C array of functions, which Swift sees as a tuple.
  private func withFunctions<Tuple, Function>(_ tuple: Tuple, _ index: Int, _ body: (Function) -> Void) {
    unsafe withUnsafeBytes(of: tuple) { bytes in
      unsafe body(bytes.assumingMemoryBound(to: Function.self)[index])
    }
  }
}
