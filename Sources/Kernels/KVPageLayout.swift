import CKernels
import Codecs

/// Where the keys, or the values, of each head lie in a page of a cache.
struct KVPageLayout {
  let heads: Int
  let dimension: Int
  let element: KVElement
  let isKeys: Bool
  let hasChannelScales: Bool
  /// Tokens of a page.
  let pageTokens: Int

  init(keys format: KVFormat, heads: Int, dimension: Int, pageTokens: Int) {
    self.heads = heads
    self.dimension = dimension
    element = format.keys
    isKeys = true
    hasChannelScales = format.keys.hasScales && format.keyScales == .channel
    self.pageTokens = pageTokens
  }

  init(values format: KVFormat, heads: Int, dimension: Int, pageTokens: Int) {
    self.heads = heads
    self.dimension = dimension
    element = format.values
    isKeys = false
    hasChannelScales = false
    self.pageTokens = pageTokens
  }

  private var paddedDimension: Int { (dimension + 15) / 16 * 16 }

  /// Bytes of a head's panels.
  private var panelBytes: Int {
    isKeys
      ? element.byteCount(columns: dimension) * (pageTokens / PanelMatrix.panelRows)
      : element.byteCount(columns: pageTokens) * (paddedDimension / PanelMatrix.panelRows)
  }

  /// Scales of a head in a page.
  private var scaleCount: Int {
    guard element.hasScales else { return 0 }
    guard !hasChannelScales else { return pageTokens / KVPages.tileTokens * paddedDimension }
    return groups * pageTokens
  }

  /// Bytes before a head's panels.
  func panelStart(_ head: Int) -> Int { head * panelBytes }

  /// Panels of a value.
  var valuePanels: Int { paddedDimension / PanelMatrix.panelRows }

  /// Scales, and minima, of a token and head.
  var scaleRows: Int { hasChannelScales ? 0 : groups * element.halvesPerGroup }

  /// Groups of elements that have scales of their own.
  var groups: Int { (dimension + element.groupLength - 1) / element.groupLength }

  /// Bytes of a page.
  var byteCount: Int { heads * (panelBytes + scaleCount * 2 * element.halvesPerGroup) }

  /// Bytes before a head's scales.
  func scales(_ head: Int) -> Int {
    heads * panelBytes + head * scaleCount * 2 * element.halvesPerGroup
  }

  /// What kernels need to know of a head.
  func side(_ head: Int, pages: UnsafePointer<UnsafeMutableRawPointer?>?) -> ck_cache_side {
    unsafe ck_cache_side(
      pages: pages, page_tokens: pageTokens, element: element.code,
      group: hasChannelScales ? 0 : Int32(element.groupLength),
      offset: head * panelBytes, scales: scales(head), minima: scales(head) + scaleCount * 2)
  }

  /// Zeroes the lanes from a token's on in its panel of keys, the rows from its own on in the panels of values, or their scales.
  func clearLanes(_ page: UnsafeMutableRawPointer?, from token: Int) {
    let lane = token % PanelMatrix.panelRows
    let free = PanelMatrix.panelRows - lane
    for head in 0..<heads {
      if element.hasScales {
        guard !hasChannelScales else { continue }
        for row in 0..<groups * element.halvesPerGroup {
          unsafe KVPageLayout.zero(page, scales(head) + (row * pageTokens + token) * 2, free * 2)
        }
      } else if isKeys {
        let start =
          head * panelBytes + element.byteCount(columns: dimension) * (token / PanelMatrix.panelRows)
        let width = element.byteCount(columns: 1) / PanelMatrix.panelRows
        for d in 0..<dimension {
          unsafe KVPageLayout.zero(page, start + element.byteCount(columns: d) + lane * width, free * width)
        }
      } else {
        for panel in 0..<paddedDimension / PanelMatrix.panelRows {
          let start = head * panelBytes + element.byteCount(columns: panel * pageTokens + token)
          unsafe KVPageLayout.zero(page, start, element.byteCount(columns: free))
        }
      }
    }
  }

  private static func zero(_ page: UnsafeMutableRawPointer?, _ offset: Int, _ count: Int) {
    guard let page = unsafe page else { preconditionFailure("a page that is truncated was kept") }
    unsafe (page + offset).initializeMemory(as: UInt8.self, repeating: 0, count: count)
  }
}
