import CKernels
import Codecs

/// Keys and values of one layer, in pages of 256 tokens.
///
/// A page of keys holds, for each key/value head, 16 panels of 16 keys: for each element of a head, 16 consecutive
/// keys. A page of values holds, for each head, panels of 16 elements (the value padded with zeros to a multiple of 16):
/// for each token, 16 consecutive elements. Codes of four bits lie two columns to a byte. After the panels of all heads come
/// their scales and minima as halves, `[head][group][token]`, or for keys with scales of channels `[head][tile][element]`.
///
/// A cache with a window keeps the pages that the next token can still see, and uses the others again. Pages of what is kept
/// beside codes are shorter: one tile.
@safe
public final class KVPages: @unchecked Sendable {
  /// Tokens of a page, unless it is of what is kept beside codes.
  public static let pageTokens = 256
  /// Keys that are attended to at a time.
  static let tileTokens = Int(CK_KEY_TILE)
  /// Key/value heads.
  public let heads: Int
  /// Elements of a key.
  public let headDimension: Int
  /// Elements of a value.
  public let valueDimension: Int
  /// How elements are stored.
  public let format: KVFormat
  /// Tokens that a token sees, itself included; 0 for all.
  public let window: Int
  /// Static scales; nil: scales are made for each token.
  public let scales: KVScales?
  /// Tokens stored, those among them that a window has forgotten.
  public private(set) var count = 0
  let paddedDimension: Int
  /// Tokens of a page of this cache.
  let pageTokens: Int
  let keyLayout: KVPageLayout
  let valueLayout: KVPageLayout
  /// The last tokens as halves, when the format keeps them.
  let recent: KVPages?
  private(set) var keyPages: [UnsafeMutableRawPointer?] = unsafe []
  private(set) var valuePages: [UnsafeMutableRawPointer?] = unsafe []
  /// The first page that is kept; those before it are in use further on, or free.
  private var firstPage = 0
  private var freePages: [(keys: UnsafeMutableRawPointer?, values: UnsafeMutableRawPointer?)] = unsafe []
  /// Whether entries were taken out of the middle.
  private var hasGaps = false
  private let scratch = AlignedBuffer()

  /// Creates an empty cache.
  /// - Parameters:
  ///   - valueDimension: elements of a value; nil for as many as a key has.
  ///   - scales: static scales, one for all heads or one for each, where the format has such; nil for none.
  public convenience init(
    heads: Int, headDimension: Int, valueDimension: Int? = nil, format: KVFormat = .f16, window: Int = 0,
    scales: KVScales? = nil
  ) {
    self.init(
      heads: heads, headDimension: headDimension, valueDimension: valueDimension ?? headDimension,
      format: format, window: window, scales: scales, pageTokens: KVPages.pageTokens)
  }

  private init(
    heads: Int, headDimension: Int, valueDimension: Int, format: KVFormat, window: Int, scales: KVScales?,
    pageTokens: Int
  ) {
    precondition(heads > 0 && headDimension > 0, "a cache needs heads")
    self.heads = heads
    self.headDimension = headDimension
    self.valueDimension = valueDimension
    self.pageTokens = pageTokens
    self.format = format
    self.window = window
    self.scales = format.isStatic ? scales : nil
    precondition(!format.isStatic || scales != nil, "a static format needs scales")
    paddedDimension = (valueDimension + 15) / 16 * 16
    keyLayout = KVPageLayout(
      keys: format, heads: heads, dimension: headDimension, pageTokens: pageTokens)
    valueLayout = KVPageLayout(
      values: format, heads: heads, dimension: valueDimension, pageTokens: pageTokens)
    let tiles = KVPages.tileTokens
    recent =
      format.keepsRecent
      ? KVPages(
        heads: heads, headDimension: headDimension, valueDimension: valueDimension, format: .f16,
        window: (format.recent + 2 * tiles - 1) / tiles * tiles, scales: nil, pageTokens: tiles) : nil
  }

  deinit {
    releasePages(firstPage..<pageCount)
    deallocateFreePages(but: 0)
  }

  private var pageCount: Int { unsafe keyPages.count }

  /// Bytes of all pages.
  public var byteCount: Int {
    unsafe (pageCount - firstPage + freePages.count) * (keyLayout.byteCount + valueLayout.byteCount)
      + (recent?.byteCount ?? 0)
  }

  /// Bytes that a token takes, without the copies of the last ones.
  public var bytesPerToken: Double {
    Double(keyLayout.byteCount + valueLayout.byteCount) / Double(pageTokens)
  }

  /// Room for rotating a head's key and value.
  func scratch(head: Int) -> UnsafeMutablePointer<Float> {
    let width = headDimension + valueDimension
    return unsafe scratch.floats(heads * width) + head * width
  }

  /// Makes room for `tokens` tokens in all, so that appending does not allocate. With a window, pages that the token after
  /// the last stored one cannot see are used again.
  public func reserve(_ tokens: Int) {
    recent?.reserve(tokens)
    if window > 0 {
      let unseen = max(count - window + 1, 0) / pageTokens
      if unseen > firstPage {
        releasePages(firstPage..<min(unseen, pageCount))
        firstPage = min(unseen, pageCount)
      }
    }
    while pageCount * pageTokens < tokens {
      let pages =
        unsafe freePages.popLast()
        ?? (keys: KVPages.page(keyLayout.byteCount), values: KVPages.page(valueLayout.byteCount))
      unsafe keyPages.append(pages.keys)
      unsafe valuePages.append(pages.values)
    }
    // A long run leaves many pages of one tile, of which the next token needs one at most.
    if pageTokens < KVPages.pageTokens { deallocateFreePages(but: 1) }
  }

  private func deallocateFreePages(but kept: Int) {
    while unsafe freePages.count > kept, let pages = unsafe freePages.popLast() {
      unsafe pages.keys?.deallocate()
      unsafe pages.values?.deallocate()
    }
  }

  /// Makes pages free for use further on.
  private func releasePages(_ range: Range<Int>) {
    for page in range { unsafe freePages.append((keyPages[page], valuePages[page])) }
  }

  private static func page(_ byteCount: Int) -> UnsafeMutableRawPointer? {
    let page = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 64)
    unsafe page.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
    return unsafe page
  }

  /// Counts tokens that were stored beyond ``count``.
  func advance(by tokens: Int) {
    count += tokens
    recent?.advance(by: tokens)
  }

  /// Whether everything that the token after the first `tokens` can see is still there; where entries were taken out of the middle,
  /// that is so for 0 alone.
  public func canTruncate(to tokens: Int) -> Bool {
    guard !hasGaps else { return tokens == 0 }
    let isThere = tokens == 0 || tokens - window + 1 >= firstPage * pageTokens || firstPage == 0
    return isThere && recent?.canTruncate(to: tokens) ?? true
  }

  /// Forgets all but the first `tokens` tokens, for which ``canTruncate(to:)`` must hold; pages stay for later.
  ///
  /// What is forgotten never reaches later results, not even a NaN: the lanes that the last panel keeps free are
  /// zeroed here, and every other panel is when it begins to be filled again.
  public func truncate(to tokens: Int) {
    precondition(tokens >= 0 && tokens <= count, "a cache cannot grow by truncation")
    precondition(canTruncate(to: tokens), "what was forgotten cannot come back")
    if tokens == 0 { hasGaps = false }
    recent?.truncate(to: tokens)
    if tokens == 0, firstPage > 0 {
      releasePages(firstPage..<pageCount)
      unsafe keyPages.removeAll()
      unsafe valuePages.removeAll()
      firstPage = 0
    }
    cut(to: tokens)
  }

  /// Forgets all but the first `tokens` entries, after others were taken out of the middle.
  func shrink(to tokens: Int) {
    guard tokens < count else { return }
    hasGaps = tokens > 0
    cut(to: tokens)
  }

  private func cut(to tokens: Int) {
    if tokens < count, tokens % PanelMatrix.panelRows > 0 {
      let page = tokens / pageTokens
      unsafe keyLayout.clearLanes(keyPages[page], from: tokens % pageTokens)
      unsafe valueLayout.clearLanes(valuePages[page], from: tokens % pageTokens)
    }
    count = tokens
  }
}
