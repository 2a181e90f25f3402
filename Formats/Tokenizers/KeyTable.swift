/// A hash table from 64-bit keys to 64-bit values that is filled once and then asked very often.
///
/// Open addressing with linear probing, at most half full. The hash is keyed with a random number of the
/// process, so that no file can be written to make it slow; results never depend on it.
struct KeyTable: Sendable {
  /// A key that is never stored.
  private static let empty = UInt64.max
  /// The random multiplier, odd.
  private static let multiplier = UInt64.random(in: 0 ... .max) | 1

  private var keys: [UInt64]
  private var values: [UInt64]
  private let shift: UInt64
  /// How many keys there are.
  private(set) var count = 0

  /// An empty table with room for `capacity` keys.
  init(capacity: Int) {
    var bits: UInt64 = 4
    while 1 << bits < capacity * 2 { bits += 1 }
    keys = Array(repeating: Self.empty, count: 1 << bits)
    values = Array(repeating: 0, count: 1 << bits)
    shift = 64 - bits
  }

  /// The place where `key` is, or where it would go.
  @inline(__always)
  private func slot(of key: UInt64) -> Int {
    let mixed = (key ^ (key >> 29)) &* Self.multiplier
    var slot = Int(truncatingIfNeeded: ((mixed ^ (mixed >> 32)) &* Self.multiplier) >> shift)
    let mask = keys.count - 1
    while keys[slot] != key, keys[slot] != Self.empty { slot = (slot + 1) & mask }
    return slot
  }

  /// The value of `key`.
  @inline(__always)
  subscript(key: UInt64) -> UInt64? {
    let slot = slot(of: key)
    return keys[slot] == key ? values[slot] : nil
  }

  /// Sets the value of `key`, which must not be `UInt64.max`; tells whether the key is new.
  @discardableResult
  mutating func set(_ key: UInt64, _ value: UInt64) -> Bool {
    if count * 2 >= keys.count { grow() }
    let slot = slot(of: key)
    let isNew = keys[slot] == Self.empty
    keys[slot] = key
    values[slot] = value
    if isNew { count += 1 }
    return isNew
  }

  private mutating func grow() {
    var larger = KeyTable(capacity: keys.count)
    for (key, value) in zip(keys, values) where key != Self.empty { larger.set(key, value) }
    self = larger
  }

  /// All keys and values, in no order.
  var entries: [(key: UInt64, value: UInt64)] {
    zip(keys, values).lazy.filter { $0.0 != Self.empty }.map { (key: $0.0, value: $0.1) }
  }
}
