/// The tokens of a tokenizer by id and by name.
struct Vocabulary: Sendable {
  private var names = TokenBytes()
  private var texts = TokenBytes()
  private var isDefined: [Bool] = []
  private var special: Set<Int32> = []
  private var ids: [[UInt8]: Int32] = [:]

  /// Takes the names by id, nil where an id is not used; `textBytes` tells what a name decodes to. Of equal
  /// names the last counts.
  init(_ names: [[UInt8]?], special: Set<Int32>, textBytes: (_ id: Int32, _ name: [UInt8]) -> [UInt8]) {
    self.special = special
    ids.reserveCapacity(names.count)
    for (id, name) in names.enumerated() {
      isDefined.append(name != nil)
      self.names.append(name ?? [])
      texts.append(name.map { textBytes(Int32(id), $0) } ?? [])
      if let name { ids[name] = Int32(id) }
    }
  }

  /// Puts the tokens of a map in the order of their ids.
  ///
  /// The largest id must be of the order of the number of tokens: room is made for every id below it.
  static func names(_ ids: some Sequence<(key: [UInt8], value: Int32)>) -> [[UInt8]?] {
    var names: [[UInt8]?] = []
    for (name, id) in ids {
      if Int(id) >= names.count { names += Array(repeating: nil, count: Int(id) + 1 - names.count) }
      names[Int(id)] = name
    }
    return names
  }

  /// Largest id + 1.
  var count: Int { isDefined.count }

  /// Whether a token is special.
  func isSpecial(_ id: Int32) -> Bool { special.contains(id) }

  /// What a token decodes to; nothing for an unused id.
  func textBytes(_ id: Int32) -> ArraySlice<UInt8> { texts[Int(id)] }

  /// The bytes of a token's name; none when `id` is unused.
  func nameBytes(_ id: Int32) -> ArraySlice<UInt8> { names[Int(id)] }

  /// The name of a token.
  func name(_ id: Int32) -> String? {
    guard isDefined.indices.contains(Int(id)), isDefined[Int(id)] else { return nil }
    return String(decoding: names[Int(id)], as: UTF8.self)
  }

  /// The token of a name.
  func id(_ name: some Sequence<UInt8>) -> Int32? { ids[Array(name)] }
}
