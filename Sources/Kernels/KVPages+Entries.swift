import Codecs

/// Caches that keep some entries and forget others. Kernels know nothing of it: they see a shorter sequence.
extension KVPages {
  /// Why entries cannot be taken out one by one; nil when they can.
  public var keepingRefusal: String? {
    if window > 0 { return "its layer has a window of its own" }
    if format.keysPerChannel { return "keys share scales with their neighbours (channel)" }
    if recent != nil { return "recent tokens are kept twice" }
    return nil
  }

  /// Keeps some of the entries of each head, bit by bit, and forgets the others; what is kept moves up to the front.
  /// - Parameter entries: for each head as many indices, ascending.
  public func keep(_ entries: [[Int]]) {
    let kept = entries.first?.count ?? 0
    precondition(keepingRefusal == nil, "entries that cannot be taken out one by one")
    precondition(
      entries.count == heads && entries.allSatisfy { $0.count == kept }, "every head keeps as many entries")
    for (head, list) in entries.enumerated() {
      var last = -1
      for (target, source) in list.enumerated() {
        precondition(source > last && source < count, "entries ascend and are there")
        last = source
        if source != target { copyEntry(head: head, of: self, source, to: target) }
      }
    }
    shrink(to: kept)
  }

  /// Puts the first keys of another cache of the same form in the place of as many keys, from index `start` on.
  public func replaceKeys(from other: KVPages, count: Int, at start: Int = 0) {
    precondition(
      other.heads == heads && other.headDimension == headDimension && other.format == format
        && start + count <= self.count && count <= other.count, "keys of another form")
    for head in 0..<heads {
      for index in 0..<count {
        unsafe keyLayout.copy(
          head: head, from: .init(other.keyPages, index), to: .init(keyPages, start + index))
      }
    }
  }

  private func copyEntry(head: Int, of source: KVPages, _ index: Int, to target: Int) {
    unsafe keyLayout.copy(
      head: head, from: .init(source.keyPages, index), to: .init(keyPages, target))
    unsafe valueLayout.copy(
      head: head, from: .init(source.valuePages, index), to: .init(valuePages, target))
  }

  /// The keys of a head as attention reads them, `[count, headDimension]`, rotated where the format rotates them.
  public func keys(head: Int) -> [Float] {
    unsafe read(head, keyLayout, keyPages, headDimension)
  }

  /// The values of a head as attention reads them, `[count, valueDimension]`, rotated where the format rotates them.
  public func values(head: Int) -> [Float] {
    unsafe read(head, valueLayout, valuePages, valueDimension)
  }

  private func read(
    _ head: Int, _ layout: KVPageLayout, _ pages: [UnsafeMutableRawPointer?], _ dimension: Int
  ) -> [Float] {
    var result = [Float](repeating: 0, count: count * dimension)
    let count = count
    unsafe result.withUnsafeMutableBufferPointer { target in
      guard let start = target.baseAddress else { return }
      for index in 0..<count {
        unsafe layout.read(head: head, .init(pages, index), into: start + index * dimension)
      }
    }
    return result
  }
}

extension KVFormat {
  /// Whether keys of a tile share scales.
  fileprivate var keysPerChannel: Bool { keys.hasScales && keyScales == .channel }
}
