import SafeIO

/// The tokens of a tokenizer by id and by name.
struct Vocabulary: Sendable {
  private var names = TokenBytes()
  private var texts = TokenBytes()
  private var isDefined: [Bool] = []
  private var special: Set<Int32> = []
  private var ids: [ExactString: Int32]

  /// Puts the tokens in the order of their ids; `textBytes` tells what a name decodes to.
  ///
  /// The largest id must be of the order of the number of tokens: room is made for every id below it.
  init(
    _ ids: [ExactString: Int32], special: Set<Int32>, textBytes: (String) -> [UInt8]
  ) {
    self.ids = ids
    self.special = special
    let count = ids.values.max().map { Int($0) + 1 } ?? 0
    var byID = Array(repeating: String?.none, count: count)
    for (name, id) in ids { byID[Int(id)] = name.text }
    for name in byID {
      isDefined.append(name != nil)
      names.append((name ?? "").utf8)
      texts.append(name.map(textBytes) ?? [])
    }
  }

  /// Largest id + 1.
  var count: Int { isDefined.count }

  /// Whether a token is special.
  func isSpecial(_ id: Int32) -> Bool { special.contains(id) }

  /// What a token decodes to; nothing for an unused id.
  func textBytes(_ id: Int32) -> ArraySlice<UInt8> { texts[Int(id)] }

  /// The name of a token.
  func name(_ id: Int32) -> String? {
    guard isDefined.indices.contains(Int(id)), isDefined[Int(id)] else { return nil }
    return String(decoding: names[Int(id)], as: UTF8.self)
  }

  /// The token of a name.
  func id(_ name: String) -> Int32? { ids[ExactString(name)] }
}
