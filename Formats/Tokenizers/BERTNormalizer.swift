/// BERT's normalization, as `tokenizer.json` and as GGUF have it.
struct BERTNormalizer: Sendable, Equatable {
  /// Leaves out control characters and turns white space into spaces.
  var cleansText = true
  /// Puts spaces around Han characters.
  var splitsHan = true
  /// Leaves out nonspacing marks after decomposition.
  var stripsAccents = true
  /// Turns everything into lowercase.
  var lowercases = true

  /// The text normalized.
  func normalized(_ text: [UInt8]) -> [UInt8] {
    var text = text
    if cleansText { text = Self.cleaned(text) }
    if splitsHan {
      text = NormalizationStep.mapScalars(text) { scalar, result in
        if Self.isHan(scalar) {
          result.append(0x20)
          UnicodeNormalization.appendScalar(scalar, to: &result)
          result.append(0x20)
        } else {
          UnicodeNormalization.appendScalar(scalar, to: &result)
        }
      }
    }
    if stripsAccents {
      text = NormalizationStep.mapScalars(UnicodeNormalization.normalized(text, .nfd)) { scalar, result in
        if scalar < 0x300 || !Self.isNonspacing(scalar) {
          UnicodeNormalization.appendScalar(scalar, to: &result)
        }
      }
    }
    return lowercases ? NormalizationStep.lowercased(text) : text
  }

  private static func isNonspacing(_ scalar: UInt32) -> Bool {
    UnicodeClasses.shared.flags(of: scalar) & UnicodeClasses.mark != 0
      && Unicode.Scalar(scalar)?.properties.generalCategory == .nonspacingMark
  }

  private static func cleaned(_ text: [UInt8]) -> [UInt8] {
    NormalizationStep.mapScalars(text) { scalar, result in
      if scalar == 0 || scalar == 0xFFFD { return }
      let flags = UnicodeClasses.shared.flags(of: scalar)
      let isLineSpace = scalar == 0x09 || scalar == 0x0A || scalar == 0x0D
      if !isLineSpace, isControl(scalar, flags) { return }
      if flags & UnicodeClasses.space != 0 {
        result.append(0x20)
      } else {
        UnicodeNormalization.appendScalar(scalar, to: &result)
      }
    }
  }

  /// General category C but what is not assigned.
  private static func isControl(_ scalar: UInt32, _ flags: UInt16) -> Bool {
    if scalar < 0x20 || (0x7F..<0xA0).contains(scalar) { return true }
    if flags != 0 { return false }
    switch Unicode.Scalar(scalar)?.properties.generalCategory {
    case .control, .format, .privateUse, .surrogate, nil: return true
    default: return false
    }
  }

  /// What BERT takes for a Chinese character; the last range but two begins late, as in the reference
  /// implementation.
  static func isHan(_ scalar: UInt32) -> Bool {
    switch scalar {
    case 0x4E00...0x9FFF, 0x3400...0x4DBF, 0x2_0000...0x2_A6DF, 0x2_A700...0x2_B73F, 0x2_B740...0x2_B81F,
      0x2_B920...0x2_CEAF, 0xF900...0xFAFF, 0x2_F800...0x2_FA1F:
      return true
    default: return false
    }
  }
}
