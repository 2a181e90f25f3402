import Architectures
import SafeIO
import Tokenizers

extension DoctorCheck {
  /// A tokenizer that does not go with the embedding, and special tokens that are not where they are said to be.
  static let vocabulary = DoctorCheck(
    name: "vocabulary", summary: "tokenizer, embedding and special tokens go together"
  ) { subject, _ in
    guard let model = subject.model else { return [] }
    let rows = model.summary.sizes.vocabularySize
    guard let tokenizer = model.tokenizer?.tokenizer else {
      return [
        Finding(
          .warning, check: "vocabulary", "there is no tokenizer",
          meaning: "engines cannot read or write text with it",
          remedy: "put the tokenizer files of the original model beside the weights")
      ]
    }
    var findings: [Finding] = []
    if tokenizer.vocabularyCount > rows {
      findings.append(
        Finding(
          .error, check: "vocabulary",
          "the tokenizer has \(tokenizer.vocabularyCount) tokens, and the embedding has rows for \(rows)",
          meaning:
            "a text that uses one of the last tokens reads beyond the embedding; engines stop or crash",
          remedy:
            "the tokenizer is that of another model, or tokens were added to it without the embedding: take the right one"
        ))
    } else if tokenizer.vocabularyCount < rows - 4096 {
      findings.append(
        Finding(
          .warning, check: "vocabulary",
          "the tokenizer has \(tokenizer.vocabularyCount) tokens, far fewer than the \(rows) rows of the embedding",
          meaning:
            "the model can write tokens that have no text; padding of the embedding is rarely that large",
          remedy: "check that the tokenizer is the model's own"))
    }
    let declared = model.summary.sizes
    if let token = tokenizer.beginOfSequence, let other = declared.bosToken, token != other {
      findings.append(
        disagreement("begins", "bos_token_id", "\(token)", "\(other)"))
    }
    if let token = tokenizer.endOfSequence, !declared.eosTokens.isEmpty, !declared.eosTokens.contains(token) {
      findings.append(
        disagreement(
          "ends", "eos_token_id", "\(token)", "\(declared.eosTokens.map(String.init).joined(separator: ", "))"
        ))
    }
    return findings
  }

  private static func disagreement(_ verb: String, _ key: String, _ token: String, _ other: String) -> Finding
  {
    Finding(
      .warning, check: "vocabulary", subject: key,
      "the token that \(verb) a sequence is \(token) by the tokenizer and \(other) by the configuration",
      meaning: "depending on which an engine believes, texts begin wrong or generation does not stop",
      remedy: "make \(key) in config.json and generation_config.json the tokenizer's, or list both")
  }
}
