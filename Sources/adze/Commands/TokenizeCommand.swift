import ArgumentParser
import Pipeline
import SafeIO
import Tokenizers

struct TokenizeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tokenize", abstract: "Show the token ids of a text.",
    discussion:
      "With --json: {\"ids\": [...]}. Without: one line a token, id and text. MODEL may be a GGUF that holds only a vocabulary."
  )

  @Argument(help: "The model.") var model: String
  @Argument(help: "The text.") var text: String?
  @Option(help: "Read the text from a file.") var file: String?
  @Flag(name: .customLong("no-special"), help: "Add no special tokens, and read none in the text.")
  var noSpecial = false
  @Flag(help: "Print one JSON object.") var json = false

  func validate() throws {
    guard (text == nil) != (file == nil) else { throw ValidationError("Give a text, or --file.") }
  }

  func run() throws {
    let tokenizer = try ModelFormats.tokenizer(model)
    let bytes =
      try file.map { try FileReading.readAll($0, limit: Limits.standard.maxDocumentBytes) }
      ?? Array((text ?? "").utf8)
    let ids = try tokenizer.encode(bytes, addSpecialTokens: !noSpecial, parseSpecialTokens: !noSpecial)
    guard !json else {
      try Console.print(JSONValue.object(["ids": .array(ids.map { JSONValue(Int($0)) })]).serialized())
      return
    }
    for id in ids { try Console.print("\(id)\t\(tokenizer.token(id) ?? "")") }
  }
}
