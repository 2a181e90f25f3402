/// How much one file may hold of a model that is written as several.
public struct PartLimit: Sendable, Hashable {
  /// Most bytes of tensors; nil: any number.
  public var byteCount: Int?
  /// Most tensors; nil: any number.
  public var tensorCount: Int?

  /// Creates a limit.
  public init(byteCount: Int? = nil, tensorCount: Int? = nil) {
    self.byteCount = byteCount
    self.tensorCount = tensorCount
  }

  /// Fills parts in the given order; a tensor larger than a part gets one of its own.
  /// - Parameter byteCounts: bytes of each tensor.
  /// - Returns: the tensors of each part; one empty part when there are none.
  public func parts(of byteCounts: [Int]) -> [Range<Int>] {
    var parts: [Range<Int>] = []
    var (first, bytes) = (0, 0)
    for (index, size) in byteCounts.enumerated() {
      let isFull = size > (byteCount ?? .max) - bytes || index - first >= tensorCount ?? .max
      if isFull && index > first {
        parts.append(first..<index)
        (first, bytes) = (index, 0)
      }
      bytes = min(bytes, .max - size) + size
    }
    parts.append(first..<byteCounts.count)
    return parts
  }

  /// What names of parts end with, such as `00002-of-00012` for part 1 (from 0) of 12.
  public static func label(_ index: Int, of count: Int) -> String {
    "\(fiveDigits(index + 1))-of-\(fiveDigits(count))"
  }

  private static func fiveDigits(_ number: Int) -> String {
    let digits = String(number)
    return String(repeating: "0", count: max(5 - digits.count, 0)) + digits
  }
}

/// A file that will be written, and what of a model it holds.
public struct PlannedFile: Sendable, Equatable {
  /// Its path.
  public let path: String
  /// How many tensors it holds.
  public let tensorCount: Int
  /// Bytes of the tensors with their padding; the header comes on top.
  public let tensorByteCount: Int

  /// Describes a file.
  public init(path: String, tensorCount: Int, tensorByteCount: Int) {
    self.path = path
    self.tensorCount = tensorCount
    self.tensorByteCount = tensorByteCount
  }
}
