/// Byte strings with ids, for finding those that begin at a place of a text one byte at a time.
struct TokenTrie: Sendable {
  /// The state before any byte.
  static let root: Int32 = 0

  private var children: KeyTable
  private var ids: [Int32] = [-1]
  /// The states below the root by byte, 0 when there is none.
  private var roots: [Int32] = Array(repeating: 0, count: 256)

  /// An empty trie with room for tokens of `byteCount` bytes together.
  init(byteCount: Int) { children = KeyTable(capacity: byteCount) }

  /// Adds a token that is not empty; of equal ones the last counts. Returns its state.
  @discardableResult
  mutating func insert(_ token: some Sequence<UInt8>, _ id: Int32) -> Int32 {
    var state = Self.root
    for byte in token {
      var child = self.child(state, byte)
      if child == 0 {
        child = Int32(ids.count)
        ids.append(-1)
        if state == 0 {
          roots[Int(byte)] = child
        } else {
          children.set(UInt64(state) << 8 | UInt64(byte), UInt64(child))
        }
      }
      state = child
    }
    if state != 0 { ids[Int(state)] = id }
    return state
  }

  /// The state after one more byte; 0 when no token goes on so.
  @inline(__always)
  func child(_ state: Int32, _ byte: UInt8) -> Int32 {
    if state == 0 { return roots[Int(byte)] }
    guard let child = children[UInt64(state) << 8 | UInt64(byte)] else { return 0 }
    return Int32(truncatingIfNeeded: child)
  }

  /// The token that ends in a state, -1 when none does.
  @inline(__always)
  func id(_ state: Int32) -> Int32 { ids[Int(state)] }

  /// The state after `bytes`, 0 when no token begins so.
  func state(after bytes: some Sequence<UInt8>) -> Int32 {
    var state = Self.root
    for byte in bytes {
      state = child(state, byte)
      if state == 0 { return 0 }
    }
    return state
  }

  /// The longest token that begins at `start`, from `state` on.
  func longest(
    _ text: Span<UInt8>, _ start: Int, end: Int, from state: Int32 = root
  ) -> (id: Int32, end: Int)? {
    var state = state
    var index = start
    var found: (id: Int32, end: Int)?
    while index < end {
      state = child(state, text[index])
      if state == 0 { break }
      index += 1
      if ids[Int(state)] >= 0 { found = (ids[Int(state)], index) }
    }
    return found
  }
}
