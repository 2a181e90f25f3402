/// One row of logits or log-probabilities, read in groups of eight.
@safe
struct LogitRow {
  private let start: UnsafeRawPointer
  let count: Int

  /// A view of `values`, which must outlive it.
  init(_ values: UnsafeBufferPointer<Float>) {
    precondition(values.count > 0, "a row without logits")
    // A buffer with elements has an address.
    unsafe start = UnsafeRawPointer(values.baseAddress.unsafelyUnwrapped)
    count = values.count
  }

  /// Number of groups of eight, the last one perhaps incomplete.
  var groupCount: Int { (count + 7) / 8 }

  subscript(index: Int) -> Float {
    precondition(index >= 0 && index < count)
    return unsafe start.load(fromByteOffset: index * 4, as: Float.self)
  }

  /// Eight values; places after the end hold minus infinity.
  @inline(__always)
  func group(_ index: Int) -> SIMD8<Float> {
    if index * 8 + 8 <= count {
      return unsafe start.loadUnaligned(fromByteOffset: index * 32, as: SIMD8<Float>.self)
    }
    var result = SIMD8<Float>(repeating: -.infinity)
    for lane in 0..<max(0, count - index * 8) { result[lane] = self[index * 8 + lane] }
    return result
  }

  /// The largest value and the first place that holds it. NaN never counts as the largest.
  func maximum() -> (value: Float, index: Int) {
    var largest = SIMD8<Float>(repeating: -.infinity)
    for index in 0..<groupCount {
      let values = group(index)
      largest.replace(with: values, where: values .> largest)
    }
    let value = largest.max()
    let wanted = SIMD8<Float>(repeating: value)
    for index in 0..<groupCount {
      let matches = group(index) .== wanted
      guard any(matches) else { continue }
      for lane in 0..<8 where matches[lane] { return (value, index * 8 + lane) }
    }
    return (value, 0)
  }
}

extension SIMD8<Double> {
  /// Eight floats, exactly.
  @inline(__always)
  init(exactly values: SIMD8<Float>) {
    self.init(
      Double(values[0]), Double(values[1]), Double(values[2]), Double(values[3]), Double(values[4]),
      Double(values[5]), Double(values[6]), Double(values[7]))
  }
}
