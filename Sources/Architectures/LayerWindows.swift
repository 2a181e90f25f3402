import SafeIO

extension Decoder {
  /// The window that the configuration gives, nil for none.
  /// - Parameter fallback: what an absent key means; null always means none.
  static func window(
    _ reader: inout ConfigurationReader, fallback: Int? = nil
  ) throws(ArchitectureError) -> Int? {
    if reader.value("sliding_window") == false { return nil }
    let isGiven = reader.has("sliding_window")
    let window = try reader.optionalInteger("sliding_window", in: 0...1 << 31)
    return isGiven ? window : fallback
  }

  /// Gives layers their windows: those that `layer_types` calls sliding, or where there is no list, those that `isSliding`
  /// says. Returns which they are.
  @discardableResult
  mutating func readLayerWindows(
    _ reader: inout ConfigurationReader, window: Int?, isSliding: (Int) -> Bool
  ) throws(ArchitectureError) -> [Bool] {
    let kinds = ["full_attention", "sliding_attention"]
    var sliding = (0..<sizes.layerCount).map { window != nil && isSliding($0) }
    if let types = try reader.optionalStrings("layer_types") {
      guard types.count >= sizes.layerCount, types.allSatisfy(kinds.contains) else {
        throw .configuration(
          key: reader.path("layer_types"),
          expected: "\(sizes.layerCount) of \(kinds.joined(separator: ", "))", found: "\(types.prefix(8))")
      }
      sliding = types.prefix(sizes.layerCount).map { $0 == kinds[1] }
    }
    if window == nil, sliding.contains(true) {
      throw .configuration(
        key: reader.path("sliding_window"), expected: "a window for the sliding layers", found: "null")
    }
    guard window != 0 || !sliding.contains(true) else {
      throw .configuration(key: reader.path("sliding_window"), expected: "a positive number", found: "0")
    }
    windows = sliding.map { $0 ? window ?? 0 : 0 }
    return sliding
  }

  /// One window for all layers, or none.
  mutating func readWindow(
    _ reader: inout ConfigurationReader, fallback: Int? = nil
  ) throws(ArchitectureError) {
    let window = try Self.window(&reader, fallback: fallback)
    try readLayerWindows(&reader, window: window) { _ in true }
  }
}
