import SafeIO
import TensorCore

/// The strings of a metadata array as they lie in a file: each a `u64` length and its bytes, which need not be UTF-8.
///
/// Vocabularies have hundreds of thousands of strings; here they cost four bytes each beside the mapped file.
@safe
public struct GGUFStrings: Sendable, Equatable, ExpressibleByArrayLiteral {
  private let region: MemoryRegion
  /// Where the length of each string lies, counted from the first one.
  private let starts: [UInt32]
  /// Where the first length lies and the last string ends.
  private let range: Range<Int>

  /// Looks at strings of a file, whose bounds were checked.
  init(region: MemoryRegion, starts: [UInt32], range: Range<Int>) {
    self.region = region
    self.starts = starts
    self.range = range
  }

  /// Copies strings, given by their bytes.
  public init(_ strings: some Sequence<some Collection<UInt8>>) {
    var bytes: [UInt8] = []
    var starts: [UInt32] = []
    for string in strings {
      starts.append(UInt32(clamping: bytes.count))
      let count = UInt64(string.count)
      for shift in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: count >> (8 * UInt64(shift)))) }
      bytes.append(contentsOf: string)
    }
    self.init(region: MemoryRegion(copying: bytes), starts: starts, range: 0..<bytes.count)
  }

  /// Copies strings.
  public init(_ strings: [String]) { self.init(strings.map(\.utf8)) }

  /// Strings written in the program.
  public init(arrayLiteral elements: String...) { self.init(elements) }

  /// Number of strings.
  public var count: Int { starts.count }

  /// Bytes of a string.
  public func bytes(at index: Int) -> [UInt8] {
    let extent = extent(at: index)
    return unsafe region.withBytes { unsafe Array($0[extent]) }
  }

  /// Text of a string; bytes that are not UTF-8 are replaced.
  public func text(at index: Int) -> String {
    let extent = extent(at: index)
    return unsafe region.withBytes { unsafe String(decoding: $0[extent], as: UTF8.self) }
  }

  /// All texts; bytes that are not UTF-8 are replaced.
  public var texts: [String] { starts.indices.map(text(at:)) }

  private func extent(at index: Int) -> Range<Int> {
    let start = range.lowerBound + Int(starts[index]) + 8
    let end = index + 1 < starts.count ? range.lowerBound + Int(starts[index + 1]) : range.upperBound
    return start..<end
  }

  /// Appends all strings as they lie in a file.
  func append(to bytes: inout [UInt8]) {
    unsafe region.withBytes { unsafe bytes.append(contentsOf: $0[range]) }
  }

  /// Bytes of all strings with their lengths.
  var byteCount: Int { range.count }

  /// Whether there are the same strings, byte by byte, in the same order.
  public static func == (left: GGUFStrings, right: GGUFStrings) -> Bool {
    guard left.count == right.count, left.byteCount == right.byteCount else { return false }
    return unsafe left.region.withBytes { first in
      unsafe right.region.withBytes { second in
        unsafe first[left.range].elementsEqual(second[right.range])
      }
    }
  }
}
