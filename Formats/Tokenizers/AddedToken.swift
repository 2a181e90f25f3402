/// A token that is looked for in the text itself, before any splitting (an entry of `added_tokens`).
struct AddedToken: Sendable, Equatable {
  /// The id.
  var id: Int32
  /// The text, not empty.
  var content: String
  /// Whether it counts only where no word character stands beside it.
  var isSingleWord = false
  /// Whether it takes in white space before it.
  var stripsLeft = false
  /// Whether it takes in white space after it.
  var stripsRight = false
  /// Whether it is looked for after normalization, in what the other added tokens left.
  var isNormalized = false
  /// Whether it controls the model and is no text.
  var isSpecial = false
}
