import Codecs

/// What can be wrong with weights in the GPTQ layout, or keep weights out of it.
public typealias GPTQError = LayoutError<GPTQLayout>

extension GPTQLayout: WritableLayout {
  /// As errors say it.
  public static var layoutName: String { "GPTQ" }
  /// A way out.
  public static var unsupportedHint: String? { "the tool that wrote it can write the form 'gptq'" }
}
