/// The merges that are possible in one word: gives out the lowest rank first, and within a rank the leftmost
/// place.
///
/// One list a rank. Merging goes from left to right, so that places mostly arrive in order and a list is a
/// plain queue; the first place out of order turns it into a binary heap (a sorted list is one already).
/// Therefore a word of `n` equal letters takes O(n) steps and any word O(n log n).
struct MergeQueue {
  private struct Places {
    var values: [Int32] = []
    var head = 0
    var isHeap = false
    var isEmpty: Bool { head == values.count }
  }

  private var places: [Places] = []
  private var spare: [Int32] = []
  private var listOfRank: [Int32]
  private var ranks: [Int32] = []
  /// Steps done so far: entries moved in lists and heaps.
  private(set) var stepCount = 0

  /// An empty queue for ranks below `rankCount`.
  init(rankCount: Int) { listOfRank = Array(repeating: -1, count: rankCount) }

  /// Adds a place.
  mutating func push(rank: Int32, place: Int32) {
    var list = Int(listOfRank[Int(rank)])
    if list < 0 {
      list = Int(spare.popLast() ?? Int32(places.count))
      if list == places.count { places.append(Places()) }
      listOfRank[Int(rank)] = Int32(list)
      stepCount += Self.heapPush(&ranks, rank)
    }
    stepCount += 1
    if !places[list].isHeap {
      if places[list].isEmpty || places[list].values[places[list].values.count - 1] <= place {
        places[list].values.append(place)
        return
      }
      stepCount += places[list].values.count
      places[list].values.removeFirst(places[list].head)
      places[list].head = 0
      places[list].isHeap = true
    }
    stepCount += Self.heapPush(&places[list].values, place)
  }

  /// Takes out the next place; nil when there is none.
  mutating func pop() -> (rank: Int32, place: Int32)? {
    guard let rank = ranks.first else { return nil }
    let list = Int(listOfRank[Int(rank)])
    let place: Int32
    if places[list].isHeap {
      place = places[list].values[0]
      stepCount += Self.heapPop(&places[list].values)
    } else {
      place = places[list].values[places[list].head]
      places[list].head += 1
    }
    stepCount += 1
    if places[list].isEmpty {
      places[list].values.removeAll(keepingCapacity: true)
      places[list].head = 0
      places[list].isHeap = false
      spare.append(Int32(list))
      listOfRank[Int(rank)] = -1
      stepCount += Self.heapPop(&ranks)
    }
    return (rank, place)
  }

  private static func heapPush(_ heap: inout [Int32], _ value: Int32) -> Int {
    heap.append(value)
    var index = heap.count - 1
    var steps = 0
    while index > 0 {
      let parent = (index - 1) / 2
      if heap[parent] <= value { break }
      heap[index] = heap[parent]
      index = parent
      steps += 1
    }
    heap[index] = value
    return steps
  }

  private static func heapPop(_ heap: inout [Int32]) -> Int {
    let value = heap.removeLast()
    if heap.isEmpty { return 0 }
    var index = 0
    var steps = 0
    while true {
      var child = index * 2 + 1
      if child >= heap.count { break }
      if child + 1 < heap.count, heap[child + 1] < heap[child] { child += 1 }
      if heap[child] >= value { break }
      heap[index] = heap[child]
      index = child
      steps += 1
    }
    heap[index] = value
    return steps
  }
}
