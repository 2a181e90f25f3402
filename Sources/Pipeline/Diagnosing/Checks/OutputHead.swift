import OrderedCollections
import SafeIO

extension DoctorCheck {
  /// A head that the configuration promises and the checkpoint lacks, or the other way about.
  static let outputHead = DoctorCheck(
    name: "output-head", summary: "the output head is there, or tied to the embedding and said to be"
  ) { subject, _ in
    guard let configuration = subject.configuration, !subject.tensors.isEmpty else { return [] }
    let isTied =
      (configuration["tie_word_embeddings"] ?? configuration["text_config"]?["tie_word_embeddings"])?
      .boolValue
    let heads = subject.tensors.keys.filter { $0 == "lm_head" || $0.hasPrefix("lm_head.") }
    let hasEmbedding = subject.tensors.keys.contains { $0.hasSuffix("embed_tokens.weight") }
    guard hasEmbedding else { return [] }
    if heads.isEmpty, isTied == false {
      return [
        Finding(
          .error, check: "output-head", subject: "lm_head.weight",
          "the checkpoint has no lm_head.weight, and config.json says that it is not tied to the embedding",
          meaning: "engines that trust the configuration use an uninitialized head and produce noise",
          remedy:
            "if the model was trained with tied embeddings, set \"tie_word_embeddings\": true in config.json; otherwise the file is incomplete"
        )
      ]
    }
    if !heads.isEmpty, isTied == true {
      return [
        Finding(
          .warning, check: "output-head", subject: heads[0],
          "config.json says that the head is tied to the embedding, yet the checkpoint has a head of its own",
          meaning:
            "some engines use the embedding and others the head; if the two differ, so do their outputs",
          remedy:
            "set \"tie_word_embeddings\": false if the head is another matrix, or remove it if it is the same"
        )
      ]
    }
    return []
  }
}
