import OrderedCollections
import SafeIO
import Safetensors
import TensorCore

extension StatisticsFile {
  private static let formatName = "adze-statistics"
  private static let parts = ["square_sums", "maxima", "tokens", "borrowed_tokens", "second_moment_sum"]

  /// Whether `path` is a statistics file.
  public static func isStatistics(path: String) -> Bool {
    SafetensorsFile.isSafetensors(path: path)
      && (try? SafetensorsFile(path: path).metadata["format"]) == formatName
  }

  /// Opens a file; tensors are mapped and read when they are asked for.
  /// - Throws: ``CalibrationError/badStatistics(file:reason:)``, `SafetensorsError`.
  public init(path: String) throws {
    let file = try SafetensorsFile(path: path)
    func bad(_ reason: String) -> CalibrationError { .badStatistics(file: path, reason: reason) }
    guard file.metadata["format"] == Self.formatName else { throw bad("is not a statistics file") }
    guard file.metadata["version"] == "2" else {
      throw bad("has version \(file.metadata["version"] ?? "(none)"); this build reads version 2")
    }
    guard let model = file.metadata["model_sha256"], let segments = Self.segments(file.metadata["segments"]),
      let tokens = file.metadata["tokens"].flatMap({ Int($0) }), let weights = file.metadata["weights"],
      tokens >= 0
    else { throw bad("lacks model_sha256, segments, tokens or weights") }
    self.init(modelDigest: model, segments: segments, tokenCount: tokens)
    guard let table = try JSONValue.parse(Array(weights.utf8), file: path).objectValue else {
      throw bad("'weights' is no object")
    }
    for (weight, key) in table {
      guard let key = key.stringValue else { throw bad("'weights' holds something other than text") }
      groupOfWeight[weight] = key
    }
    for key in OrderedSet(groupOfWeight.values) {
      groups[key] = try segments.indices.map { number in
        let place = Self.place(key, segment: number)
        var tensors: [String: Tensor] = [:]
        for part in Self.parts { tensors[part] = file.tensors[place + "." + part] }
        try Self.check(tensors, key: place, path: path)
        return .tensors(tensors)
      }
      try checkAgreement(key, path: path)
    }
  }

  /// Segments as the metadata spell them: `corpus:first-last`, separated by commas; nil when they are not spelt so.
  private static func segments(_ text: String?) -> [WindowSegment]? {
    guard let text, !text.isEmpty else { return nil }
    var segments: [WindowSegment] = []
    for part in text.split(separator: ",") {
      let fields = part.split(separator: ":", omittingEmptySubsequences: false)
      let bounds = fields.last?.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) } ?? []
      guard fields.count == 2, bounds.count == 2, let first = bounds[0], let last = bounds[1], first >= 0,
        first <= last, last < 1 << 40
      else { return nil }
      segments.append(WindowSegment(corpus: String(fields[0]), windows: first..<last + 1))
    }
    return segments
  }

  private static func place(_ key: String, segment: Int) -> String {
    segment == 0 ? key : "\(key)#\(segment)"
  }

  /// The segments of a group can be added.
  private func checkAgreement(_ key: String, path: String) throws(CalibrationError) {
    let shapes = (groups[key] ?? []).map { stored -> String in
      guard case .tensors(let tensors) = stored else { return "" }
      return "\(tensors["square_sums"]?.shape.elementCount ?? 0) \(tensors["second_moment_sum"] != nil)"
    }
    guard Set(shapes).count <= 1 else {
      throw .badStatistics(file: path, reason: "the segments of '\(key)' have different sizes")
    }
  }

  private static func check(_ tensors: [String: Tensor], key: String, path: String) throws(CalibrationError) {
    let columns = tensors["square_sums"]?.shape.elementCount ?? -1
    let wanted: [(String, ElementType, [Int])] = [
      ("square_sums", .f64, [columns]), ("maxima", .f32, [columns]), ("tokens", .i64, [1]),
      ("borrowed_tokens", .i64, [1]), ("second_moment_sum", .f32, [columns, columns]),
    ]
    let optional = ["borrowed_tokens", "second_moment_sum"]
    for (part, type, dimensions) in wanted {
      guard let tensor = tensors[part] else {
        if optional.contains(part) { continue }
        throw .badStatistics(file: path, reason: "'\(key)' lacks \(part)")
      }
      if part == "tokens", let count = (try? tensor.integers())?.first, count < 0 {
        throw .badStatistics(file: path, reason: "'\(key).tokens' is negative")
      }
      if part == "borrowed_tokens", let count = (try? tensor.integers())?.first,
        let total = (try? tensors["tokens"]?.integers())?.first, !(0...max(total, 0)).contains(count)
      {
        throw .badStatistics(file: path, reason: "'\(key).borrowed_tokens' is not between 0 and its tokens")
      }
      guard tensor.elementType == type, tensor.shape.dimensions == dimensions else {
        throw .badStatistics(
          file: path,
          reason:
            "'\(key).\(part)' is \(tensor.elementType.name)\(tensor.shape), expected \(type.name)\(dimensions)"
        )
      }
    }
  }

  /// Writes the file; the same statistics give the same bytes.
  /// - Throws: `SafetensorsError`, `SafeIOError`.
  public func write(to path: String) throws {
    var tensors: OrderedDictionary<String, Tensor> = [:]
    let all = groups.flatMap { key, parts in
      parts.enumerated().map { (Self.place(key, segment: $0), $1) }
    }
    for (key, stored) in all {
      let statistics = try stored.load()
      let columns = statistics.columns
      tensors[key + ".square_sums"] = try Tensor(
        bytes: statistics.squareSums.flatMap { value in
          (0..<8).map { UInt8(truncatingIfNeeded: value.bitPattern >> (8 * UInt64($0))) }
        },
        elementType: .f64, shape: Shape([columns]))
      tensors[key + ".maxima"] = try Tensor(statistics.maxima, shape: Shape([columns]))
      tensors[key + ".tokens"] = try Self.count(statistics.tokenCount)
      if statistics.borrowedTokenCount > 0 {
        tensors[key + ".borrowed_tokens"] = try Self.count(statistics.borrowedTokenCount)
      }
      if let sums = statistics.secondMomentSum {
        tensors[key + ".second_moment_sum"] = try Tensor(sums, shape: Shape([columns, columns]))
      }
    }
    let weights = JSONValue.object(JSONObject(groupOfWeight.map { ($0.key, .string($0.value)) }))
    try SafetensorsWriter.write(
      tensors,
      metadata: [
        "format": Self.formatName, "version": "2", "model_sha256": modelDigest,
        "segments": segments.map { "\($0.corpus):\($0.windows.lowerBound)-\($0.windows.upperBound - 1)" }
          .joined(separator: ","), "tokens": String(tokenCount),
        "weights": weights.serialized(),
      ], to: path)
  }

  private static func count(_ count: Int) throws -> Tensor {
    try Tensor(
      bytes: (0..<8).map { UInt8(truncatingIfNeeded: Int64(count) >> (8 * Int64($0))) }, elementType: .i64,
      shape: [1])
  }
}
