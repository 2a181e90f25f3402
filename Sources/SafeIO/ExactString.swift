/// A string that equals another one only when their UTF-8 bytes are the same.
///
/// Swift's `String` takes canonically equivalent texts ("é" as one scalar or as two) for equal, but they are different
/// keys of a JSON object and different entries of a vocabulary.
public struct ExactString: Hashable, Comparable, Sendable, CustomStringConvertible {
  /// The text.
  public let text: String

  /// Wraps `text`.
  public init(_ text: String) { self.text = text }

  /// Whether the bytes are the same.
  public static func == (left: ExactString, right: ExactString) -> Bool {
    left.text.utf8.count == right.text.utf8.count && left.text.utf8.elementsEqual(right.text.utf8)
  }

  /// The order of the bytes.
  public static func < (left: ExactString, right: ExactString) -> Bool {
    left.text.utf8.lexicographicallyPrecedes(right.text.utf8)
  }

  /// Feeds the bytes.
  public func hash(into hasher: inout Hasher) {
    var text = self.text
    text.withUTF8 { bytes in
      unsafe hasher.combine(bytes: UnsafeRawBufferPointer(bytes))
    }
    hasher.combine(0xFF as UInt8)
  }

  /// The text.
  public var description: String { text }
}
