import CPCRE2

/// A regular expression of a tokenizer file, run by PCRE2 within limits that keep time linear in the text.
///
/// The reference implementation of `tokenizer.json` runs Oniguruma (Ruby syntax); where the two differ for
/// Unicode text the expression is translated: white space, word characters and word boundaries are those of
/// UTS 18, `^` and `$` match at lines, `\h` is a hexadecimal digit.
@safe final class RegularExpression: @unchecked Sendable {
  /// Why a text is no regular expression that can be run.
  struct Failure: Error, Equatable {
    /// What is wrong.
    var problem: String
  }

  /// The expression as the file has it.
  let text: String
  /// Immutable after compilation; matching uses data of its own.
  private let code: OpaquePointer

  /// Bytes of the longest expression.
  private static let maximumByteCount = 1 << 14
  /// Steps that a single attempt may take before they are counted.
  private static let freeSteps: UInt32 = 500
  /// Steps that one attempt may ever take.
  private static let maximumSteps: UInt32 = 5_000_000
  /// Kibibytes of the heap, and depth, that one attempt may use.
  private static let heapLimit: UInt32 = 256 << 10
  private static let depthLimit: UInt32 = 1_000_000

  /// Compiles an expression.
  init(_ text: String) throws(Failure) {
    guard text.utf8.count <= Self.maximumByteCount else {
      throw Failure(problem: "longer than \(Self.maximumByteCount) bytes")
    }
    self.text = text
    let pattern = Array(try RegularExpressionTranslation.translated(text).utf8)
    var error: Int32 = 0
    var offset = 0
    let options = [
      PCRE2_UTF, PCRE2_UCP, PCRE2_MULTILINE, PCRE2_NEVER_BACKSLASH_C, PCRE2_NO_START_OPTIMIZE,
    ].reduce(UInt32(0)) { $0 | UInt32($1) }
    guard let code = unsafe pcre2_compile_8(pattern, pattern.count, options, &error, &offset, nil) else {
      throw Failure(problem: Self.message(error) + " at byte \(offset)")
    }
    unsafe self.code = code
  }

  deinit { unsafe pcre2_code_free_8(code) }

  private static func message(_ error: Int32) -> String {
    var buffer = [UInt8](repeating: 0, count: 256)
    let count = unsafe pcre2_get_error_message_8(error, &buffer, buffer.count)
    return String(decoding: buffer.prefix(max(0, Int(count))), as: UTF8.self)
  }

  /// All matches from left to right, as iterating over them gives them; an empty match counts unless it stands
  /// at the end of the one before.
  /// - Throws: ``TokenizerError/matchLimit(pattern:)``.
  func matches(_ text: Span<UInt8>) throws(TokenizerError) -> [Range<Int>] {
    var matches: [Range<Int>] = []
    guard let attempt = Attempt(self, byteCount: text.count) else { throw .matchLimit(pattern: self.text) }
    var attempts = attempt
    defer { attempts.free() }
    var start = 0
    while start <= text.count {
      guard let end = try attempts.matchEnd(text, start) else {
        start += start < text.count ? UnicodeClasses.scalar(text, start).count : 1
        continue
      }
      if end > start {
        matches.append(start..<end)
        start = end
      } else {
        if matches.last?.upperBound != end { matches.append(start..<end) }
        start += start < text.count ? UnicodeClasses.scalar(text, start).count : 1
      }
    }
    return matches
  }

  /// What attempts on one text need and have used.
  @safe private struct Attempt {
    let expression: RegularExpression
    let data: OpaquePointer
    let context: OpaquePointer
    /// Steps that attempts beyond the free ones may still take together.
    var budget: Int

    init?(_ expression: RegularExpression, byteCount: Int) {
      guard let data = unsafe pcre2_match_data_create_8(1, nil) else { return nil }
      guard let context = unsafe pcre2_match_context_create_8(nil) else {
        unsafe pcre2_match_data_free_8(data)
        return nil
      }
      unsafe self.data = data
      unsafe self.context = context
      self.expression = expression
      budget = byteCount.multipliedReportingOverflow(by: 400).partialValue &+ 10_000_000
      _ = unsafe pcre2_set_heap_limit_8(context, RegularExpression.heapLimit)
      _ = unsafe pcre2_set_depth_limit_8(context, RegularExpression.depthLimit)
    }

    func free() {
      unsafe pcre2_match_data_free_8(data)
      unsafe pcre2_match_context_free_8(context)
    }

    /// The end of the match that begins at `start`; nil when none does.
    ///
    /// An attempt that runs out of its free steps is made again with more of them, which count.
    mutating func matchEnd(_ text: Span<UInt8>, _ start: Int) throws(TokenizerError) -> Int? {
      var steps = RegularExpression.freeSteps
      while true {
        _ = unsafe pcre2_set_match_limit_8(context, steps)
        let options = UInt32(PCRE2_NO_UTF_CHECK) | UInt32(PCRE2_ANCHORED)
        let status = unsafe text.withUnsafeBufferPointer { buffer in
          unsafe pcre2_match_8(
            expression.code, buffer.baseAddress, buffer.count, start, options, data, context)
        }
        if status == PCRE2_ERROR_NOMATCH { return nil }
        if status >= 0, let vector = unsafe pcre2_get_ovector_pointer_8(data) {
          return unsafe max(start, vector[1])
        }
        budget -= Int(steps)
        guard status == PCRE2_ERROR_MATCHLIMIT, steps < RegularExpression.maximumSteps, budget > 0 else {
          throw .matchLimit(pattern: expression.text)
        }
        steps = min(steps * 16, RegularExpression.maximumSteps)
      }
    }
  }
}
