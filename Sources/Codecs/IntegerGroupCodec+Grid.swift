import TensorCore

extension IntegerGroupCodec {
  /// Chooses scale and zero of one group, as they will be stored. A shrunken asymmetric range keeps its zero point, so
  /// that it is clipped at both ends in proportion.
  ///
  /// An all-zero group gets the smallest scale; non-finite weights must have been refused before.
  public func fitGrid(_ values: Span<Float>, importance: Span<Float>?, search: ScaleSearch) -> Grid {
    let start = extremeGrid(values)
    guard case .leastSquares(let steps, let smallest) = search, steps > 1 else { return start }
    var best = start
    var bestError = squaredError(values, importance, start)
    for step in 1..<steps {
      let shrink = 1 - (1 - smallest) * Float(step) / Float(steps - 1)
      let candidate = grid(scale: start.scale * shrink, zero: start.zero)
      let error = squaredError(values, importance, candidate)
      if error < bestError { (best, bestError) = (candidate, error) }
    }
    for _ in 0..<2 {
      let candidate = refined(best, values, importance)
      let error = squaredError(values, importance, candidate)
      guard error < bestError else { break }
      (best, bestError) = (candidate, error)
    }
    return best
  }

  private func extremeGrid(_ values: Span<Float>) -> Grid {
    var low: Float = 0
    var high: Float = 0
    for index in values.indices {
      low = min(low, values[index])
      high = max(high, values[index])
    }
    if isSymmetric {
      return grid(scale: max(-low, high) / (Float(maximumCode) / 2), zero: Float(middleCode))
    }
    let scale = storable((high - low) / Float(maximumCode))
    let zero = min(max(roundToEven(-low / scale), 0), Float(maximumCode))
    return Grid(scale: scale, zero: zero, maximumCode: Float(maximumCode))
  }

  /// Least-squares scale for the codes that `grid` gives: `sum(h w c) / sum(h c c)` with `c = code - zero`.
  private func refined(_ grid: Grid, _ values: Span<Float>, _ importance: Span<Float>?) -> Grid {
    var cross: Float = 0
    var square: Float = 0
    let inverse = 1 / grid.scale
    for index in values.indices {
      let weight = importance?[index] ?? 1
      let code = min(max(roundToEven(values[index] * inverse) + grid.zero, 0), grid.maximumCode) - grid.zero
      cross += weight * code * values[index]
      square += weight * code * code
    }
    guard square > 0, cross > 0 else { return grid }
    return self.grid(scale: cross / square, zero: grid.zero)
  }

  private func squaredError(_ values: Span<Float>, _ importance: Span<Float>?, _ grid: Grid) -> Float {
    let inverse = 1 / grid.scale
    let scale = grid.scale
    let low = -grid.zero
    let high = grid.maximumCode - grid.zero
    let lowest = SIMD8<Float>(repeating: low)
    let highest = SIMD8<Float>(repeating: high)
    let magic: Float = 12_582_912
    var sum = SIMD8<Float>(repeating: 0)
    var tail: Float = 0
    let whole = values.count & ~7
    var index = 0
    while index < whole {
      var value = SIMD8<Float>()
      for lane in 0..<8 { value[lane] = unsafe values[unchecked: index + lane] }
      var code = value * inverse
      // Not `clamp`, which is a call for every vector.
      code.replace(with: lowest, where: code .< lowest)
      code.replace(with: highest, where: code .> highest)
      code = (code + magic) - magic
      let difference = value - code * scale
      if let importance {
        var weight = SIMD8<Float>()
        for lane in 0..<8 { weight[lane] = unsafe importance[unchecked: index + lane] }
        sum += difference * difference * weight
      } else {
        sum += difference * difference
      }
      index += 8
    }
    while index < values.count {
      let code = (min(max(values[index] * inverse, low), high) + magic) - magic
      let difference = values[index] - code * scale
      tail += difference * difference * (importance?[index] ?? 1)
      index += 1
    }
    return sum.sum() + tail
  }

  private func grid(scale: Float, zero: Float) -> Grid {
    Grid(scale: storable(scale), zero: zero, maximumCode: Float(maximumCode))
  }

  /// The positive scale nearest to `scale` that the storage type can hold; overflow stays infinite and is refused when planes are made.
  func storable(_ scale: Float) -> Float {
    switch scaleType {
    case .f16: max(SmallFloat.halfRounded(scale), 0x1p-24)
    case .bf16: max(SmallFloat.float(bfloat16: SmallFloat.bfloat16(scale)), Float.leastNormalMagnitude)
    default: max(scale, Float.leastNormalMagnitude)
    }
  }
}
