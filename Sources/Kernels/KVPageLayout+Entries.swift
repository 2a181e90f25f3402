import Codecs
import TensorCore

/// Single entries of pages: what a head has of one token.
extension KVPageLayout {
  /// A token in a page.
  @safe
  struct Place {
    let page: UnsafeMutableRawPointer
    let token: Int

    init(_ pages: [UnsafeMutableRawPointer?], _ index: Int) {
      guard let page = unsafe pages[index / KVPages.pageTokens] else {
        preconditionFailure("an entry of a page that was kept")
      }
      unsafe (self.page, token) = (page, index % KVPages.pageTokens)
    }
  }

  /// Rows of a panel of keys, and the bytes that a lane has of each: codes of four bits lie two elements to a byte.
  private var keyRows: (count: Int, width: Int) {
    element == .int4
      ? ((dimension + 1) / 2, 1) : (dimension, element.byteCount(columns: 1) / PanelMatrix.panelRows)
  }

  private func keyStart(_ head: Int, _ token: Int) -> Int {
    panelStart(head) + element.byteCount(columns: dimension) * (token / PanelMatrix.panelRows)
      + token % PanelMatrix.panelRows * keyRows.width
  }

  private func valueStart(_ head: Int, _ panel: Int, _ token: Int) -> Int {
    // Of two tokens that share bytes the first is even.
    panelStart(head) + element.byteCount(columns: panel * pageTokens)
      + (element == .int4 ? token / 2 * PanelMatrix.panelRows : element.byteCount(columns: token))
  }

  private func scaleStart(_ head: Int, _ row: Int, _ token: Int) -> Int {
    scales(head) + (row * pageTokens + token) * 2
  }

  /// Copies an entry of a head, codes and scales, to another place, bit by bit. Not for scales of channels.
  func copy(head: Int, from source: Place, to target: Place) {
    precondition(!hasChannelScales, "scales of channels belong to tiles")
    isKeys ? copyKey(head, source, target) : copyValue(head, source, target)
    for row in 0..<scaleRows {
      let (from, to) = (scaleStart(head, row, source.token), scaleStart(head, row, target.token))
      unsafe (target.page + to).copyMemory(from: source.page + from, byteCount: 2)
    }
  }

  private func copyKey(_ head: Int, _ source: Place, _ target: Place) {
    let (count, width) = keyRows
    let (from, to) = unsafe (
      source.page + keyStart(head, source.token), target.page + keyStart(head, target.token)
    )
    for row in 0..<count {
      let offset = row * PanelMatrix.panelRows * width
      unsafe (to + offset).copyMemory(from: from + offset, byteCount: width)
    }
  }

  private func copyValue(_ head: Int, _ source: Place, _ target: Place) {
    for panel in 0..<valuePanels {
      let from = unsafe source.page + valueStart(head, panel, source.token)
      let to = unsafe target.page + valueStart(head, panel, target.token)
      guard element == .int4 else {
        unsafe to.copyMemory(from: from, byteCount: element.byteCount(columns: 1))
        continue
      }
      for lane in 0..<PanelMatrix.panelRows {
        let code = unsafe from.load(fromByteOffset: lane, as: UInt8.self) >> (source.token % 2 * 4) & 15
        let old = unsafe to.load(fromByteOffset: lane, as: UInt8.self)
        let isUpper = target.token % 2 == 1
        unsafe to.storeBytes(
          of: isUpper ? old & 15 | code << 4 : old & 240 | code, toByteOffset: lane, as: UInt8.self)
      }
    }
  }

  /// What is read of an entry of a head: `dimension` numbers, rotated where the format rotates them.
  func read(head: Int, _ place: Place, into target: UnsafeMutablePointer<Float>) {
    precondition(!hasChannelScales, "scales of channels belong to tiles")
    let (panelRows, width, isNibble) = (PanelMatrix.panelRows, keyRows.width, element == .int4)
    let (page, token) = unsafe (place.page, place.token)
    let start = isKeys ? keyStart(head, token) : 0
    for d in 0..<dimension {
      let offset =
        isKeys
        ? start + (isNibble ? d / 2 : d) * panelRows * width
        : valueStart(head, d / panelRows, token) + d % panelRows * width
      let number = unsafe stored(page + offset, isUpper: (isKeys ? d : token) % 2 == 1)
      guard element.hasScales else {
        unsafe target[d] = number
        continue
      }
      let group = d / element.groupLength
      let scale = unsafe KVPageLayout.half(page + scaleStart(head, group, token))
      let minimum = unsafe isNibble ? KVPageLayout.half(page + scaleStart(head, groups + group, token)) : 0
      unsafe target[d] = minimum + number * scale
    }
  }

  /// A number as it is stored, without its scale; FP8 times 2^-8, as its scales expect.
  private func stored(_ bytes: UnsafeRawPointer, isUpper: Bool) -> Float {
    switch element {
    case .f32: return unsafe bytes.load(as: Float.self)
    case .f16: return unsafe KVPageLayout.half(bytes)
    case .int8: return unsafe Float(bytes.load(as: Int8.self))
    case .fp8: return unsafe SmallFloat.e4m3Values[Int(bytes.load(as: UInt8.self))] / 256
    case .int4:
      let byte = unsafe bytes.load(as: UInt8.self)
      return Float(isUpper ? byte >> 4 : byte & 15)
    }
  }

  private static func half(_ bytes: UnsafeRawPointer) -> Float {
    unsafe Float(Float16(bitPattern: bytes.load(as: UInt16.self)))
  }
}
