import Calibration
import Testing

/// What is seen of inputs, summed in Double by plain loops.
struct ReferenceStatistics {
  var tokenCount = 0
  var maxima: [Float]
  /// Sum of `x xᵀ`.
  var secondMoment: [Double]

  init(_ windows: [[Float]], columns: Int) {
    maxima = [Float](repeating: 0, count: columns)
    secondMoment = [Double](repeating: 0, count: columns * columns)
    for window in windows {
      for row in 0..<window.count / columns {
        tokenCount += 1
        for first in 0..<columns {
          let value = window[row * columns + first]
          maxima[first] = max(maxima[first], abs(value))
          for second in 0..<columns {
            secondMoment[first * columns + second] += Double(value) * Double(window[row * columns + second])
          }
        }
      }
    }
  }

  /// Largest deviation of a second moment from this one, as a share of this one's largest element.
  func deviation(of statistics: InputStatistics) throws -> Double {
    let sums = try #require(statistics.secondMomentSum)
    #expect(sums.count == secondMoment.count)
    let largest = secondMoment.reduce(0) { max($0, abs($1)) }
    return zip(sums, secondMoment).reduce(0) { max($0, abs(Double($1.0) - $1.1)) } / largest
  }
}

extension InputObserver {
  /// All that was seen; statistics of no inputs, which equal none that are expected, when that cannot be told.
  var total: InputStatistics {
    (try? finish().total()) ?? InputStatistics(columns: 0, withSecondMoment: false)
  }
}
