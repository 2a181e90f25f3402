import Codecs
import Differentiation
import Glibc
import TensorCore

/// A quantized weight whose codes and scales move.
///
/// A latent number `u` a weight is rounded to its code, and the gradient of what the code stands for is that of `u` as long as `u`
/// lies in the range of codes (straight-through estimator: Bengio et al. 2013, arXiv 1308.3432). A group's scale is its start times
/// a multiplier.
///
/// Each moves against its gradient, divided by the root of the gradient's running mean square (RMSProp: Tieleman and Hinton 2012):
/// what is pushed about by chance moves less than what is pushed one way, and no gradient's size matters.
@safe
final class LearnableWeight: @unchecked Sendable {
  let start: GridMatrix
  let target: TrainableWeight
  private let latents: UnsafeMutablePointer<Float>
  private let lowest: UnsafeMutablePointer<Float>
  /// How far a latent can move in all steps together, and how far it is ever from its beginning, both in codes.
  private let reach: Double
  private let limit: Float
  private let multipliers: UnsafeMutablePointer<Float>
  /// Running mean squares of the gradients of latents and of multipliers.
  private let latentSquares: UnsafeMutablePointer<Float>
  private let multiplierSquares: UnsafeMutablePointer<Float>
  private let count: Int

  /// How near to the border of a code's range a latent begins at most.
  private static let margin: Float = 0.45

  /// What is left of a mean square after a step.
  private static let decay: Float = 0.97

  /// Begins at the codes of `start`, as near to the weights as these codes allow.
  /// - Parameter reach: how far a latent can move in all steps together, in codes. Gradients larger than their mean take it further,
  ///   but never beyond that or half a code, whichever is more.
  init(start: GridMatrix, weights: FloatMatrix, target: TrainableWeight, reach: Double) {
    self.start = start
    self.target = target
    self.reach = reach
    limit = Float(max(reach, 0.5))
    count = start.rows * start.columns
    unsafe latents = .allocate(capacity: max(count, 1))
    unsafe lowest = .allocate(capacity: max(count, 1))
    let groups = max(start.scales.count, 1)
    unsafe multipliers = .allocate(capacity: groups)
    unsafe multipliers.initialize(repeating: 1, count: groups)
    unsafe latentSquares = .allocate(capacity: max(count, 1))
    unsafe latentSquares.initialize(repeating: 0, count: max(count, 1))
    unsafe multiplierSquares = .allocate(capacity: groups)
    unsafe multiplierSquares.initialize(repeating: 0, count: groups)
    for row in 0..<start.rows {
      for column in 0..<start.columns {
        let group = row * start.groupCount + column / start.groupLength
        let place = row * start.columns + column
        let code = Float(start.codes[place])
        let scale = start.scales[group]
        let wanted =
          scale == 0 ? code : (weights.values[place] - start.offsets[group]) / scale + start.zeros[group]
        let latent = wanted.isFinite ? min(max(wanted, code - Self.margin), code + Self.margin) : code
        unsafe latents[place] = latent
        unsafe lowest[place] = latent - limit
      }
    }
    write(rows: 0..<start.rows)
  }

  deinit {
    unsafe latents.deallocate()
    unsafe lowest.deallocate()
    unsafe multipliers.deallocate()
    unsafe latentSquares.deallocate()
    unsafe multiplierSquares.deallocate()
  }

  /// Writes what the codes of some rows stand for to the target.
  func write(rows: Range<Int>) {
    let (columns, length, groups) = (start.columns, start.groupLength, start.groupCount)
    for row in rows {
      for group in 0..<groups {
        let place = row * groups + group
        let scale = unsafe start.scales[place] * multipliers[place]
        let (zero, offset, highest) = (start.zeros[place], start.offsets[place], start.maximumCode)
        for index in row * columns + group * length..<row * columns + min((group + 1) * length, columns) {
          let code = unsafe Self.code(latents[index], highest)
          unsafe target.pointer[index] = scale * (code - zero) + offset
        }
      }
    }
  }

  @inline(__always)
  private static func code(_ latent: Float, _ highest: Float) -> Float {
    (min(highest, max(0, latent)) + 12_582_912) - 12_582_912
  }

  /// How far something moves in a step.
  struct Rates {
    /// Share of the reach of latents.
    let share: Double
    let multiplier: Float
    /// The mean of squares from their running mean, which began at zero.
    let meanOfSquares: Float

    /// Those of a step, counted from 0.
    init(share: Double, multiplier: Double, step: Int) {
      self.share = share
      self.multiplier = Float(multiplier)
      meanOfSquares = Float(1 / (1 - pow(Double(LearnableWeight.decay), Double(step + 1))))
    }
  }

  /// Moves some rows against the gradient and writes what they stand for.
  /// - Parameter gradient: that of the values, `[rows, columns]`.
  func step(rows: Range<Int>, gradient: UnsafePointer<Float>, rates: Rates) {
    let (columns, length, groups) = (start.columns, start.groupLength, start.groupCount)
    let highest = start.maximumCode
    let rate = Float(reach * rates.share)
    for row in rows {
      for group in 0..<groups {
        let place = row * groups + group
        let (scale, zero) = (start.scales[place], start.zeros[place])
        guard scale != 0 else { continue }
        var sum: Float = 0
        for index in row * columns + group * length..<row * columns + min((group + 1) * length, columns) {
          let slope = unsafe gradient[index - rows.lowerBound * columns]
          let latent = unsafe latents[index]
          sum += slope * (Self.code(latent, highest) - zero)
          let isInRange = latent >= -0.5 && latent <= highest + 0.5
          let moved =
            latent
            - rate
            * (unsafe Self.scaled(isInRange ? slope * scale : 0, by: &latentSquares[index], rates))
          unsafe latents[index] = min(max(moved, lowest[index]), lowest[index] + 2 * limit)
        }
        unsafe multipliers[place] -=
          rates.multiplier * (unsafe Self.scaled(sum * scale, by: &multiplierSquares[place], rates))
      }
    }
    write(rows: rows)
  }

  /// The gradient in units of the root of its mean square, which takes it in; 0 for one that overflowed.
  @inline(__always)
  private static func scaled(_ gradient: Float, by squares: inout Float, _ rates: Rates) -> Float {
    guard gradient.isFinite else { return 0 }
    squares = decay * squares + (1 - decay) * gradient * gradient
    // Mean squares that underflow are those of gradients that mean nothing.
    return squares > 0 ? gradient / (squares * rates.meanOfSquares).squareRoot() : 0
  }

  /// The codes as they are, with scales as they can be stored; a scale that cannot be keeps its start.
  func finished() -> GridMatrix {
    var result = start
    for index in 0..<count {
      result.codes[index] = UInt8(unsafe Self.code(latents[index], start.maximumCode))
    }
    for group in result.scales.indices {
      result.scales[group] =
        start.storable(start.scales[group] * (unsafe multipliers[group])) ?? start.scales[group]
    }
    return result
  }
}
