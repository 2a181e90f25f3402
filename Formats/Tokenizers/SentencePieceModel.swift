import SafeIO

/// SentencePiece's `tokenizer.model`: a protocol-buffer message with pieces, scores and what the trainer and
/// the normalizer were told.
struct SentencePieceModel: Sendable, Equatable {
  /// How pieces are chosen.
  enum Kind: Int, Sendable {
    case unigram = 1
    case bpe = 2
    case word = 3
    case character = 4
  }

  /// The pieces by id.
  var pieces: [[UInt8]] = []
  /// Their scores.
  var scores: [Float] = []
  /// Their types, numbered as GGUF numbers them.
  var types: [GGUFVocabulary.TokenType] = []
  /// How pieces are chosen.
  var kind = Kind.unigram
  /// Whether what is no piece becomes bytes.
  var hasByteFallback = false
  /// Whether the space of a word stands after it.
  var treatsSpaceAsSuffix = false
  /// Ids of the special tokens, -1 for none.
  var unknown: Int32 = 0
  var begin: Int32 = 1
  var end: Int32 = 2
  var padding: Int32 = -1
  /// The rules for characters.
  var charsmap: [UInt8] = []
  /// What the normalizer does with spaces.
  var addsDummyPrefix = true
  var removesExtraSpaces = true
  var escapesSpaces = true

  /// Most pieces.
  private static let maximumPieceCount = 1 << 24

  /// Reads a file.
  /// - Throws: ``TokenizerError`` when it is no such message or holds what Adze does not implement.
  init(parsing bytes: [UInt8], file: String?) throws(TokenizerError) {
    var message = ProtocolBuffer(bytes[...], path: "tokenizer.model", file: file)
    while let field = try message.next() {
      switch field.number {
      case 1: try readPiece(message.message(field, "pieces[\(pieces.count)]"))
      case 2: try readTrainer(message.message(field, "trainer_spec"))
      case 3: try readNormalizer(message.message(field, "normalizer_spec"))
      default: continue
      }
      guard pieces.count <= Self.maximumPieceCount else {
        throw .limit(file: file, path: "pieces", limit: Self.maximumPieceCount, found: pieces.count)
      }
    }
    guard !pieces.isEmpty else {
      throw .invalid(file: file, path: "pieces", expected: "at least one piece", found: "none")
    }
    for (name, id) in [("unk_id", unknown), ("bos_id", begin), ("eos_id", end), ("pad_id", padding)]
    where id >= pieces.count {
      throw .invalid(
        file: file, path: "trainer_spec.\(name)", expected: "an id below \(pieces.count)", found: "\(id)")
    }
  }

  private mutating func readPiece(_ message: ProtocolBuffer) throws(TokenizerError) {
    var message = message
    var piece: [UInt8] = []
    var score: Float = 0
    var type = 1
    while let field = try message.next() {
      switch field.number {
      case 1: piece = Array(try message.bytes(field))
      case 2: score = try message.float(field)
      case 3: type = Int(try message.integer(field))
      default: continue
      }
    }
    guard !score.isNaN else { throw message.invalid("score", "a number", "NaN") }
    guard let type = GGUFVocabulary.TokenType(rawValue: Int32(truncatingIfNeeded: type)) else {
      throw message.invalid("type", "1 to 6", "\(type)")
    }
    pieces.append(piece)
    scores.append(score)
    types.append(type)
  }

  private mutating func readTrainer(_ message: ProtocolBuffer) throws(TokenizerError) {
    var message = message
    func id(_ field: ProtocolBuffer.Field) throws(TokenizerError) -> Int32 {
      Int32(clamping: try message.integer(field))
    }
    while let field = try message.next() {
      switch field.number {
      case 3:
        let value = try message.integer(field)
        guard let kind = Kind(rawValue: Int(value)) else {
          throw message.invalid("model_type", "1 to 4", "\(value)")
        }
        self.kind = kind
      case 24: treatsSpaceAsSuffix = try message.integer(field) != 0
      case 35: hasByteFallback = try message.integer(field) != 0
      case 40: unknown = try id(field)
      case 41: begin = try id(field)
      case 42: end = try id(field)
      case 43: padding = try id(field)
      default: continue
      }
    }
  }

  private mutating func readNormalizer(_ message: ProtocolBuffer) throws(TokenizerError) {
    var message = message
    while let field = try message.next() {
      switch field.number {
      case 2: charsmap = Array(try message.bytes(field))
      case 3: addsDummyPrefix = try message.integer(field) != 0
      case 4: removesExtraSpaces = try message.integer(field) != 0
      case 5: escapesSpaces = try message.integer(field) != 0
      default: continue
      }
    }
  }
}
