import CKernels
import Codecs
import OrderedCollections
import TensorCore

/// Writes weights into panels.
@safe
struct PanelPacker {
  let plan: PackingPlan
  let layout: PanelLayout
  let weights: [Weight]
  /// For each weight, the row of the packed matrix at which it begins; then the number of all rows.
  private let starts: [Int]

  init(plan: PackingPlan, layout: PanelLayout, weights: [Weight]) {
    self.plan = plan
    self.layout = layout
    self.weights = weights
    var starts = [0]
    for weight in weights { starts.append(starts[starts.count - 1] + weight.shape.rows) }
    self.starts = starts
  }

  /// Fills `target`, which is zeroed and as long as the layout says.
  func pack(into target: UnsafeMutableRawBufferPointer, pool: ThreadPool?) {
    guard let base = unsafe target.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return }
    let body: (Int) -> Void = { panel in
      unsafe packPanel(panel, base + panel * layout.panelByteCount)
    }
    if let pool {
      pool.run(taskCount: layout.panelCount, body)
    } else {
      for panel in 0..<layout.panelCount { body(panel) }
    }
  }

  private func packPanel(_ panel: Int, _ target: UnsafeMutablePointer<UInt8>) {
    if plan.encoding == .compactBF16 {
      unsafe packCompact(panel, target)
    } else {
      unsafe packRows(of: panel, target)
    }
  }

  /// Makes a plain panel, and a compact one of it while it is in the cache.
  private func packCompact(_ panel: Int, _ target: UnsafeMutablePointer<UInt8>) {
    let columns = weights[0].shape.columns
    let byteCount = columns * PanelMatrix.panelRows * 2
    unsafe withUnsafeTemporaryAllocation(byteCount: byteCount, alignment: 64) { plain in
      guard let start = unsafe plain.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return }
      unsafe start.initialize(repeating: 0, count: byteCount)
      unsafe packRows(of: panel, start)
      let codesOffset = layout.panelByteCount - Checked.ceilingQuotient(columns, 8) * PanelLayout.compactStep
      unsafe ck_pack_compact(start, columns, codesOffset, target)
    }
  }

  private func packRows(of panel: Int, _ target: UnsafeMutablePointer<UInt8>) {
    if plan.encoding.isQuantized { unsafe prepareCodes(target) }
    var row = panel * PanelMatrix.panelRows
    let end = min(row + PanelMatrix.panelRows, starts[starts.count - 1])
    while row < end {
      let index = (starts.firstIndex { $0 > row } ?? starts.count) - 1
      let stop = min(end, starts[index + 1])
      let range = row - starts[index]..<stop - starts[index]
      unsafe packRows(of: weights[index], range, lane: row % PanelMatrix.panelRows, target)
      row = stop
    }
  }

  /// Padding decodes to zero: scale 0 in padded rows, codes equal to the zero point in padded columns.
  private func prepareCodes(_ target: UnsafeMutablePointer<UInt8>) {
    let isQ4 = plan.encoding == .q4
    if plan.hasZeros {
      unsafe (target + scaleByteCount).update(repeating: isQ4 ? 8 : 128, count: layout.blockCount * 16)
    }
    let codeBytes = layout.panelByteCount - scaleByteCount - zeroByteCount
    unsafe (target + scaleByteCount + zeroByteCount).update(repeating: isQ4 ? 0x88 : 128, count: codeBytes)
  }

  private func packRows(
    of weight: Weight, _ range: Range<Int>, lane: Int, _ target: UnsafeMutablePointer<UInt8>
  ) {
    switch weight {
    case .encoded(let matrix):
      if plan.encoding.isQuantized, let codec = matrix.codec as? IntegerGroupCodec {
        return unsafe packCodes(matrix, codec, range, lane: lane, target)
      }
      if plan.encoding == .e4m3, let codec = matrix.codec as? Float8Codec {
        return unsafe packFloatCodes(matrix, codec, range, lane: lane, target)
      }
    case .dense(let tensor):
      if unsafe packElements(tensor, range, lane: lane, target) { return }
    }
    let columns = weight.shape.columns
    var values = [Float](repeating: 0, count: range.count * columns)
    unsafe values.withUnsafeMutableBufferPointer { buffer in
      // Element types without a value were refused before.
      try? unsafe weight.decode(rows: range, into: buffer)
    }
    if plan.encoding == .f16 {
      var halves = [UInt16](repeating: 0, count: values.count)
      unsafe KernelTable.best.functions.narrow_f16(values, &halves, values.count)
      unsafe halves.withUnsafeBytes { bytes in
        unsafe interleave(bytes, rows: range.count, lane: lane, width: 2, target)
      }
      return
    }
    unsafe values.withUnsafeBytes { bytes in
      unsafe interleave(bytes, rows: range.count, lane: lane, width: 4, target)
    }
  }

  /// Copies elements that are stored as they are; false when they must be converted.
  private func packElements(
    _ tensor: Tensor, _ range: Range<Int>, lane: Int, _ target: UnsafeMutablePointer<UInt8>
  ) -> Bool {
    let isSame =
      switch plan.encoding {
      case .f32: tensor.elementType == .f32
      case .bf16, .compactBF16: tensor.elementType == .bf16
      case .f16: tensor.elementType == .f16
      default: false
      }
    guard isSame else { return false }
    let width = tensor.elementType.bitWidth / 8
    let rowBytes = tensor.shape.columns * width
    unsafe tensor.withBytes { bytes in
      unsafe interleave(
        UnsafeRawBufferPointer(rebasing: bytes[range.lowerBound * rowBytes..<range.upperBound * rowBytes]),
        rows: range.count, lane: lane, width: width, target)
    }
    return true
  }

  private func interleave(
    _ bytes: UnsafeRawBufferPointer, rows: Int, lane: Int, width: Int, _ target: UnsafeMutablePointer<UInt8>
  ) {
    guard let source = unsafe bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), rows > 0 else { return }
    let columns = bytes.count / rows / width
    unsafe ck_pack_dense(source, columns * width, rows, columns, width, target + lane * width)
  }

  private func packFloatCodes(
    _ matrix: EncodedMatrix, _ codec: Float8Codec, _ range: Range<Int>, lane: Int,
    _ target: UnsafeMutablePointer<UInt8>
  ) {
    let scales = (try? matrix.planes["scales"]?.floats()) ?? []
    for row in range {
      for block in 0..<layout.blockCount {
        let scale =
          switch codec.granularity {
          case .tensor: scales[0]
          case .channel: scales[row]
          case .block(let size):
            scales[
              row / size * Checked.ceilingQuotient(matrix.columns, size) + block * plan.blockLength / size]
          }
        let at = (block * PanelMatrix.panelRows + lane + row - range.lowerBound) * 4
        unsafe UnsafeMutableRawPointer(target + at).storeBytes(of: scale, as: Float.self)
      }
    }
    let columns = matrix.columns
    unsafe matrix.planes["codes"]?.withBytes { bytes in
      let rows = unsafe UnsafeRawBufferPointer(
        rebasing: bytes[range.lowerBound * columns..<range.upperBound * columns])
      unsafe interleave(
        rows, rows: range.count, lane: lane, width: 1, target + PanelLayout.padded(layout.blockCount * 64))
    }
  }

  private func packCodes(
    _ matrix: EncodedMatrix, _ codec: IntegerGroupCodec, _ range: Range<Int>, lane: Int,
    _ target: UnsafeMutablePointer<UInt8>
  ) {
    // Symmetric codes move to the middle of the wider range; asymmetric ones keep their place and their zero point.
    let middle = plan.encoding == .q4 ? 8 : 128
    let shift = codec.isSymmetric ? middle - codec.middleCode : 0
    unsafe packGrids(matrix, codec, range, lane: lane, shift: shift, target)
    let columns = matrix.columns
    let codes = unsafe target + scaleByteCount + zeroByteCount
    if codec.bits == 4, plan.encoding == .q4, let plane = matrix.planes["codes"] {
      let rowBytes = BitPacking.bytesPerRow(count: columns, bits: 4)
      return unsafe plane.withBytes { bytes in
        guard let start = unsafe bytes.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return }
        for row in 0..<range.count {
          unsafe ck_pack_nibbles(start + (range.lowerBound + row) * rowBytes, columns, lane + row, codes)
        }
      }
    }
    unsafe codec.unpacked(matrix, rows: range).codes.withUnsafeBufferPointer { unpacked in
      guard let start = unpacked.baseAddress else { return }
      for row in 0..<range.count {
        unsafe ck_pack_codes(
          start + row * columns, columns, Int32(shift), plan.encoding.code, lane + row, codes)
      }
    }
  }

  private func packGrids(
    _ matrix: EncodedMatrix, _ codec: IntegerGroupCodec, _ range: Range<Int>, lane: Int, shift: Int,
    _ target: UnsafeMutablePointer<UInt8>
  ) {
    let groups = codec.groupCount(columns: matrix.columns)
    let groupLength = codec.groupLength(columns: matrix.columns)
    let parameters = range.lowerBound * groups..<range.upperBound * groups
    let scales = (try? matrix.planes["scales"]?.floats(elements: parameters)) ?? []
    let zeros = unsafe matrix.planes["zeros"]?.withBytes { unsafe Array($0[parameters]) }
    for row in 0..<range.count {
      for block in 0..<layout.blockCount {
        let group = row * groups + min(block * plan.blockLength / groupLength, groups - 1)
        let bits = Float16(scales[group]).bitPattern
        let at = block * PanelMatrix.panelRows + lane + row
        unsafe target[at * 2] = UInt8(truncatingIfNeeded: bits)
        unsafe target[at * 2 + 1] = UInt8(truncatingIfNeeded: bits >> 8)
        if plan.hasZeros {
          let zero = zeros.map { Int($0[group]) } ?? codec.middleCode
          unsafe target[scaleByteCount + at] = UInt8(truncatingIfNeeded: zero + shift)
        }
      }
    }
  }

  private var scaleByteCount: Int { PanelLayout.padded(layout.blockCount * 32) }
  private var zeroByteCount: Int { plan.hasZeros ? PanelLayout.padded(layout.blockCount * 16) : 0 }
}
