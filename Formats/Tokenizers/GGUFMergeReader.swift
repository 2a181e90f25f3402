/// Turns merges that are written as texts into merges of ids.
///
/// A part or a result that the vocabulary lacks still merges, as in llama.cpp; what is left of it at the end
/// becomes the tokens of its symbols.
struct GGUFMergeReader {
  private let tokenCount: Int
  private let isScalar: Bool
  private let bytes: [Int32]
  private var ids: [[UInt8]: Int32] = [:]
  private var standIns: [[UInt8]] = []
  private var merges: MergeTable

  /// - Parameters:
  ///   - tokens: by id.
  ///   - isScalar: whether symbols are scalars and not bytes in the byte alphabet.
  ///   - bytes: for scalars the tokens of the 256 bytes.
  init(_ tokens: [[UInt8]], isScalar: Bool, bytes: [Int32]) {
    tokenCount = tokens.count
    self.isScalar = isScalar
    self.bytes = bytes
    merges = MergeTable(capacity: tokens.count)
    ids.reserveCapacity(tokens.count)
    for (id, token) in tokens.enumerated() { ids[token] = Int32(id) }
  }

  /// Adds a merge: two texts with a space between them; of equal ones the first counts. False when it is none.
  mutating func add(_ merge: [UInt8], rank: Int32) -> Bool {
    guard merge.count >= 3, let space = merge[1...].firstIndex(of: 0x20), space + 1 < merge.count else {
      return false
    }
    let left = id(Array(merge[..<space]))
    let right = id(Array(merge[(space + 1)...]))
    let result = id(Array(merge[..<space] + merge[(space + 1)...]))
    if merges[left, right] == nil { merges.set(left, right, MergeTable.Merge(rank: rank, result: result)) }
    return true
  }

  private mutating func id(_ text: [UInt8]) -> Int32 {
    if let id = ids[text] { return id }
    let id = Int32(tokenCount + standIns.count)
    standIns.append(text)
    ids[text] = id
    return id
  }

  /// The model.
  func model() -> PairModel {
    let symbols: PairModel.Symbols
    if isScalar {
      var scalars = KeyTable(capacity: 4096)
      for (text, id) in ids where !text.isEmpty {
        let (value, count) = UnicodeClasses.scalar(text.span, 0)
        if count == text.count, String(validating: text, as: UTF8.self) != nil {
          scalars.set(UInt64(value), UInt64(id))
        }
      }
      symbols = .scalars(scalars, bytes: bytes)
    } else {
      symbols = .bytes((0..<256).map { ids[Array(ByteAlphabet.token(of: UInt8($0)).utf8)] ?? -1 })
    }
    var model = PairModel(symbols: symbols, merges: merges)
    model.firstStandIn = Int32(tokenCount)
    model.standIns = standIns.map { text in
      if isScalar { return text.compactMap { bytes[Int($0)] >= 0 ? bytes[Int($0)] : nil } }
      return String(decoding: text, as: UTF8.self).unicodeScalars.compactMap { scalar in
        ids[Array(String(scalar).utf8)].flatMap { $0 < tokenCount ? $0 : nil }
      }
    }
    return model
  }
}
