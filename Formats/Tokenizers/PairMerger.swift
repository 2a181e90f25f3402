/// Merges the symbols of one word as byte-pair encoding does: again and again the pair of lowest rank, the
/// leftmost first.
struct PairMerger {
  /// Words up to this many symbols are merged by looking at all pairs each time.
  private static let shortCount = 32

  private let merges: MergeTable
  private var queue: MergeQueue?
  private var ranks: [Int32] = []
  private var next: [Int32] = []
  private var previous: [Int32] = []

  /// A merger that follows `merges`.
  init(_ merges: MergeTable) { self.merges = merges }

  /// Steps done so far in long words; bounded by a small multiple of n log n.
  var stepCount: Int { queue?.stepCount ?? 0 }

  /// Merges `symbols` from `start` on in place; there must be fewer than 2^31 of them.
  mutating func merge(_ symbols: inout [Int32], from start: Int = 0) {
    let count = symbols.count - start
    if count < 2 { return }
    if count <= Self.shortCount {
      mergeShort(&symbols, start)
    } else {
      mergeLong(&symbols, start)
    }
  }

  private mutating func mergeShort(_ symbols: inout [Int32], _ start: Int) {
    ranks.removeAll(keepingCapacity: true)
    for index in start..<symbols.count - 1 { ranks.append(merges.rank(symbols[index], symbols[index + 1])) }
    while true {
      var best = MergeTable.never
      var place = 0
      for index in 0..<ranks.count where ranks[index] < best {
        best = ranks[index]
        place = index
      }
      let left = start + place
      guard best != MergeTable.never, let merge = merges[symbols[left], symbols[left + 1]] else { return }
      symbols[left] = merge.result
      symbols.remove(at: left + 1)
      ranks.remove(at: place)
      if place > 0 { ranks[place - 1] = merges.rank(symbols[left - 1], symbols[left]) }
      if place < ranks.count { ranks[place] = merges.rank(symbols[left], symbols[left + 1]) }
    }
  }

  private mutating func mergeLong(_ symbols: inout [Int32], _ start: Int) {
    let count = symbols.count - start
    var queue = self.queue.take() ?? MergeQueue(rankCount: merges.rankCount)
    defer { self.queue = queue }
    // A linked list over the places; `ranks[i]` is the rank of the pair that begins at i, so that an entry of
    // the queue whose pair has changed since is known by its rank.
    ranks = Array(repeating: MergeTable.never, count: count)
    next = (0..<Int32(count)).map { $0 + 1 }
    previous = (0..<Int32(count)).map { $0 - 1 }
    for index in 0..<count - 1 {
      let rank = merges.rank(symbols[start + index], symbols[start + index + 1])
      ranks[index] = rank
      if rank != MergeTable.never { queue.push(rank: rank, place: Int32(index)) }
    }
    while let (rank, place) = queue.pop() {
      let left = Int(place)
      if ranks[left] != rank { continue }
      let right = Int(next[left])
      guard let merge = merges[symbols[start + left], symbols[start + right]] else { continue }
      symbols[start + left] = merge.result
      let after = next[right]
      next[left] = after
      ranks[right] = MergeTable.never
      next[right] = -1
      let before = previous[left]
      if before >= 0 {
        let newRank = merges.rank(symbols[start + Int(before)], merge.result)
        ranks[Int(before)] = newRank
        if newRank != MergeTable.never { queue.push(rank: newRank, place: before) }
      }
      ranks[left] = MergeTable.never
      if Int(after) < count {
        previous[Int(after)] = place
        let newRank = merges.rank(merge.result, symbols[start + Int(after)])
        ranks[left] = newRank
        if newRank != MergeTable.never { queue.push(rank: newRank, place: place) }
      }
    }
    var kept = start
    for index in 0..<count where next[index] >= 0 {
      symbols[kept] = symbols[start + index]
      kept += 1
    }
    symbols.removeLast(symbols.count - kept)
  }
}
