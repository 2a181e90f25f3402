import GGUF
import OrderedCollections
import SafeIO
import Tokenizers

extension DoctorCheck {
  /// A model for conversation that does not say how conversations are written.
  static let chatTemplate = DoctorCheck(
    name: "chat-template", summary: "a model for conversation has a template"
  ) { subject, _ in
    guard let model = subject.model, let tokenizer = model.tokenizer?.tokenizer else { return [] }
    guard !hasTemplate(subject) else { return [] }
    let marks = [
      "<|im_start|>", "<|start_header_id|>", "<start_of_turn>", "[INST]", "<|assistant|>", "<|user|>",
      "<|start_of_role|>", "<|turn_start|>", "<｜Assistant｜>",
    ]
    guard let mark = marks.first(where: { tokenizer.id(of: $0) != nil }) else { return [] }
    return [
      Finding(
        .warning, check: "chat-template", subject: mark,
        "the vocabulary has tokens for conversations, and there is no chat template",
        meaning: "engines guess a template or refuse to chat; a wrong template makes answers much worse",
        remedy: "copy chat_template.jinja (or chat_template of tokenizer_config.json) from the original model"
      )
    ]
  }

  private static func hasTemplate(_ subject: DoctorSubject) -> Bool {
    if let gguf = subject.gguf {
      return gguf.metadata.keys.contains { $0.hasPrefix("tokenizer.chat_template") }
    }
    return HuggingFaceModel.hasChatTemplate(in: subject.path)
  }
}
