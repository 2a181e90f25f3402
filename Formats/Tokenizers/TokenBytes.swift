/// Byte strings numbered from 0, in one array.
struct TokenBytes: Sendable {
  private var storage: [UInt8] = []
  private var ends: [Int] = []

  /// How many there are.
  var count: Int { ends.count }

  /// Adds one.
  mutating func append(_ bytes: some Collection<UInt8>) {
    storage.append(contentsOf: bytes)
    ends.append(storage.count)
  }

  /// The bytes of one; none when there is no such number.
  subscript(index: Int) -> ArraySlice<UInt8> {
    guard ends.indices.contains(index) else { return [] }
    return storage[(index == 0 ? 0 : ends[index - 1])..<ends[index]]
  }
}
