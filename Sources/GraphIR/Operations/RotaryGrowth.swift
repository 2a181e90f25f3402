import Glibc

/// Rotary frequencies that slow down as a sequence grows beyond the context that the model was trained with.
///
/// Source: "NTK-aware" scaling with a dynamic factor, Peng et al. 2023 (arXiv 2309.00071), section 3.3.
public enum RotaryGrowth {
  /// The `count` frequencies for a sequence of `length` tokens, more than `context`.
  ///
  /// Powers are rounded to float32, as the published computation has them.
  public static func frequencies(
    count: Int, theta: Double, growth: Double, context: Int, length: Int
  ) -> [Float] {
    let dimension = Double(2 * count)
    let stretch = growth * Double(length) / Double(context) - (growth - 1)
    let base = theta * pow(stretch, dimension / (dimension - 2))
    return (0..<count).map { index in
      let exponent = Float(2 * index) / Float(2 * count)
      return 1 / Float(pow(Double(Float(base)), Double(exponent)))
    }
  }
}
