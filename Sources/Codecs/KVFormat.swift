/// How the elements of cached keys or values are stored.
///
/// int8 and fp8 (E4M3) have a scale for every 64 elements of a token, int4 a scale and a minimum for every 32, all as halves.
public enum KVElement: String, Sendable, CaseIterable {
  case f32, f16, int8, int4, fp8

  /// Whether elements are codes that have scales.
  public var hasScales: Bool { self != .f32 && self != .f16 }

  /// How inputs would be quantized that are stored so with one static scale; nil where there is no such scale.
  public var staticScheme: ActivationScheme? {
    switch self {
    case .int8: .int8Tensor
    case .fp8: .fp8Tensor
    case .f32, .f16, .int4: nil
    }
  }
}

/// How a cache of keys and values is stored.
public struct KVFormat: Sendable, Hashable, CustomStringConvertible {
  /// Which vectors are multiplied with a Hadamard matrix before they are stored, so that no channel stands out. Queries are
  /// multiplied too, results back: without quantization nothing changes but rounding.
  public enum Rotation: String, Sendable, CaseIterable { case none, keys, both }

  /// What a scale of quantized keys is for.
  public enum KeyScales: String, Sendable, CaseIterable {
    /// A group of elements of one key.
    case token
    /// A channel of a tile of 64 keys; keys that do not fill a tile yet are kept as halves.
    case channel
    /// All keys of a layer, or of one of its heads: the scale is part of the model, and so is that of the values.
    case tensor
  }

  /// How keys are stored.
  public var keys: KVElement
  /// How values are stored.
  public var values: KVElement
  /// What is rotated.
  public var rotation: Rotation
  /// What scales of keys are for.
  public var keyScales: KeyScales
  /// Tokens before the one that asks, itself included, that are read as halves: at least so many, up to a whole tile of 64.
  public var recent: Int

  /// Creates a format; halves unless told otherwise.
  public init(
    keys: KVElement = .f16, values: KVElement? = nil, rotation: Rotation = .none,
    keyScales: KeyScales = .token,
    recent: Int = 0
  ) {
    self.keys = keys
    self.values = values ?? keys
    self.rotation = rotation
    self.keyScales = keyScales
    self.recent = max(recent, 0)
  }

  /// Float32.
  public static let f32 = KVFormat(keys: .f32)
  /// Halves.
  public static let f16 = KVFormat(keys: .f16)
  /// Most recent tokens that a format may ask for.
  public static let maximumRecent = 1 << 20

  /// The format of a name: a type, two of them (keys, then values) with a comma between, or a ``CacheScheme``. Keys are rotated when
  /// something is int4. Nil when there is no such name.
  public init?(name: String) {
    if let scheme = CacheScheme.all.first(where: { $0.name == name.uppercased() }) {
      self = scheme.format
      return
    }
    let parts = name.split(separator: ",", omittingEmptySubsequences: false)
    let elements = parts.compactMap { KVElement(rawValue: String($0)) }
    guard elements.count == parts.count, let keys = elements.first, elements.count <= 2 else { return nil }
    self.init(keys: keys, values: elements.last, rotation: elements.contains(.int4) ? .keys : .none)
  }

  /// Such as `f16`, `int8/int4` or `int4, rotated both, recent 64`.
  public var description: String {
    var parts = [keys == values ? keys.rawValue : "\(keys.rawValue)/\(values.rawValue)"]
    if rotation != .none { parts.append("rotated \(rotation.rawValue)") }
    if keys.hasScales, keyScales == .channel { parts.append("keys per channel") }
    if isStatic { parts.append("static scales") }
    if recent > 0 { parts.append("recent \(recent)") }
    return parts.joined(separator: ", ")
  }

  /// Whether keys or values are codes.
  public var isQuantized: Bool { keys.hasScales || values.hasScales }

  /// Whether scales are part of the model.
  public var isStatic: Bool { isQuantized && keyScales == .tensor }

  /// What is wrong with it, whatever model it is for; nil when nothing is.
  public var problem: String? {
    if recent > Self.maximumRecent { return "more than \(Self.maximumRecent) recent tokens" }
    guard isStatic else { return nil }
    if keys == .int4 || values == .int4 { return "int4 has no static scales" }
    if rotation != .none { return "static scales are of keys and values as they are, not of rotated ones" }
    return nil
  }
}

/// The static scales of one layer's cache: what codes are multiplied by.
public struct KVScales: Sendable, Hashable {
  /// One number for all keys, or one a head.
  public var keys: [Float]
  /// One number for all values, or one a head.
  public var values: [Float]

  /// Creates scales.
  public init(keys: [Float], values: [Float]) {
    self.keys = keys
    self.values = values
  }
}

/// How a model's keys and values are cached: a format, and what of it is part of the model.
public struct CacheQuantization: Sendable, Hashable {
  /// The format.
  public var format: KVFormat
  /// Static scales by number of the layer's cache; empty for dynamic ones.
  public var scales: [Int: KVScales]

  /// Creates a quantization.
  public init(_ format: KVFormat, scales: [Int: KVScales] = [:]) {
    self.format = format
    self.scales = scales
  }

  /// What is wrong with it for caches with so many heads; nil when nothing is.
  public func problem(heads: [Int: Int]) -> String? {
    if let problem = format.problem { return problem }
    guard format.isStatic else {
      return scales.isEmpty ? nil : "\(format) has no static scales, and the model has some"
    }
    for (number, count) in heads.sorted(by: { $0.key < $1.key }) {
      guard let scales = scales[number] else {
        return "\(format) needs static scales, and the model has none for layer \(number)"
      }
      for (element, side, what) in [
        (format.keys, scales.keys, "keys"), (format.values, scales.values, "values"),
      ] where element.hasScales {
        guard side.count == 1 || side.count == count else {
          return "layer \(number) has \(side.count) scales of \(what), and \(count) heads"
        }
        guard let bad = side.first(where: { !Self.isUsable($0, for: element) }) else { continue }
        return "the static scale \(bad) of the \(what) of layer \(number) is unusable"
      }
    }
    guard let other = scales.keys.filter({ heads[$0] == nil }).min() else { return nil }
    return "there are static scales for layer \(other), which the model does not have"
  }

  /// Scales are kept as halves, those of FP8 times 256.
  private static func isUsable(_ scale: Float, for element: KVElement) -> Bool {
    let stored = Float(Float16(element == .fp8 ? scale * 256 : scale))
    return scale > 0 && stored.isFinite && stored > 0
  }
}
