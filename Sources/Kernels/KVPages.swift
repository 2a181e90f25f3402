import CKernels

/// How cached keys and values are stored.
public enum KVElement: String, Sendable, CaseIterable {
  case f32, f16

  /// Bytes of an element.
  public var byteCount: Int { self == .f32 ? 4 : 2 }
}

/// Keys and values of one layer, in pages of 256 tokens.
///
/// A page of keys holds, for each key/value head, 16 panels of 16 keys: for each element of a head, 16 consecutive
/// keys. A page of values holds, for each head, panels of 16 elements (the value padded with zeros to a multiple of 16):
/// for each token, 16 consecutive elements.
///
/// A cache with a window keeps the pages that the next token can still see, and uses the others again.
@safe
public final class KVPages: @unchecked Sendable {
  /// Tokens of a page.
  public static let pageTokens = 256
  /// Key/value heads.
  public let heads: Int
  /// Elements of a key.
  public let headDimension: Int
  /// Elements of a value.
  public let valueDimension: Int
  /// How elements are stored.
  public let element: KVElement
  /// Tokens that a token sees, itself included; 0 for all.
  public let window: Int
  /// Tokens stored, those among them that were forgotten.
  public private(set) var count = 0
  let paddedDimension: Int
  private(set) var keyPages: [UnsafeMutableRawPointer] = unsafe []
  private(set) var valuePages: [UnsafeMutableRawPointer] = unsafe []
  /// The first page that is kept; those before it are in use further on, or free.
  private var firstPage = 0
  private var freePages: [(keys: UnsafeMutableRawPointer, values: UnsafeMutableRawPointer)] = unsafe []

  /// Creates an empty cache.
  /// - Parameter valueDimension: elements of a value; nil for as many as a key has.
  public init(
    heads: Int, headDimension: Int, valueDimension: Int? = nil, element: KVElement, window: Int = 0
  ) {
    precondition(heads > 0 && headDimension > 0, "a cache needs heads")
    self.heads = heads
    self.headDimension = headDimension
    self.valueDimension = valueDimension ?? headDimension
    self.element = element
    self.window = window
    paddedDimension = (self.valueDimension + 15) / 16 * 16
  }

  deinit {
    releasePages(firstPage..<pageCount)
    unsafe freePages.forEach { pages in
      unsafe pages.keys.deallocate()
      unsafe pages.values.deallocate()
    }
  }

  private var keyPageByteCount: Int { heads * KVPages.pageTokens * headDimension * element.byteCount }
  private var valuePageByteCount: Int { heads * KVPages.pageTokens * paddedDimension * element.byteCount }

  private var pageCount: Int { unsafe keyPages.count }

  /// Bytes of all pages.
  public var byteCount: Int {
    unsafe (pageCount - firstPage + freePages.count) * (keyPageByteCount + valuePageByteCount)
  }

  /// Makes room for `tokens` tokens in all, so that appending does not allocate. With a window, pages that the token after
  /// the last stored one cannot see are used again.
  public func reserve(_ tokens: Int) {
    if window > 0 {
      let unseen = max(count - window + 1, 0) / KVPages.pageTokens
      if unseen > firstPage {
        releasePages(firstPage..<min(unseen, pageCount))
        firstPage = min(unseen, pageCount)
      }
    }
    while pageCount * KVPages.pageTokens < tokens {
      let pages =
        unsafe freePages.popLast()
        ?? (keys: KVPages.page(keyPageByteCount), values: KVPages.page(valuePageByteCount))
      unsafe keyPages.append(pages.keys)
      unsafe valuePages.append(pages.values)
    }
  }

  /// Makes pages free for use further on.
  private func releasePages(_ range: Range<Int>) {
    for page in range { unsafe freePages.append((keyPages[page], valuePages[page])) }
  }

  private static func page(_ byteCount: Int) -> UnsafeMutableRawPointer {
    let page = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 64)
    unsafe page.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
    return unsafe page
  }

  /// Counts tokens that were stored beyond ``count``.
  func advance(by tokens: Int) { count += tokens }

  /// Whether everything that the token after the first `tokens` can see is still there.
  public func canTruncate(to tokens: Int) -> Bool {
    tokens == 0 || tokens - window + 1 >= firstPage * KVPages.pageTokens || firstPage == 0
  }

  /// Forgets all but the first `tokens` tokens, for which ``canTruncate(to:)`` must hold; pages stay for later.
  ///
  /// What is forgotten never reaches later results, not even a NaN: the lanes that the last panel keeps free are
  /// zeroed here, and every other panel is when it begins to be filled again.
  public func truncate(to tokens: Int) {
    precondition(tokens >= 0 && tokens <= count, "a cache cannot grow by truncation")
    precondition(canTruncate(to: tokens), "a window that was forgotten cannot come back")
    if tokens == 0, firstPage > 0 {
      releasePages(firstPage..<pageCount)
      unsafe keyPages.removeAll()
      unsafe valuePages.removeAll()
      firstPage = 0
    }
    let lane = tokens % PanelMatrix.panelRows
    if tokens < count, lane > 0 {
      let page = tokens / KVPages.pageTokens
      for head in 0..<heads { clearLanes(page: page, head: head, token: tokens % KVPages.pageTokens) }
    }
    count = tokens
  }

  /// Zeroes the lanes from a token's on in its panel of keys, and the rows from its own on in the panels of values.
  private func clearLanes(page: Int, head: Int, token: Int) {
    let width = element.byteCount
    let lane = token % PanelMatrix.panelRows
    let free = PanelMatrix.panelRows - lane
    let keys = unsafe keyPages[page] + (head * KVPages.pageTokens + token - lane) * headDimension * width
    for d in 0..<headDimension {
      unsafe (keys + (d * PanelMatrix.panelRows + lane) * width).initializeMemory(
        as: UInt8.self, repeating: 0, count: free * width)
    }
    let values = unsafe valuePages[page] + head * KVPages.pageTokens * paddedDimension * width
    for panel in 0..<paddedDimension / PanelMatrix.panelRows {
      let start = (panel * KVPages.pageTokens + token) * PanelMatrix.panelRows * width
      unsafe (values + start).initializeMemory(
        as: UInt8.self, repeating: 0, count: free * PanelMatrix.panelRows * width)
    }
  }
}
