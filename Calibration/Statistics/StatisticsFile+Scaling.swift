import OrderedCollections

extension StatisticsFile {
  /// What was seen, as if the inputs of some weights had been divided by factors, one a column; weights of one group have
  /// the same factors.
  /// - Throws: `TensorCoreError`, ``CalibrationError/statisticsMismatch(reason:)``.
  public func dividingInputs(by factors: [String: [Float]]) throws -> StatisticsFile {
    var result = self
    var done: Set<String> = []
    for (weight, factors) in factors {
      guard let key = groupOfWeight[weight], done.insert(key).inserted, let stored = groups[key] else {
        continue
      }
      result.groups[key] = try stored.map { part in
        var statistics = try part.load()
        guard statistics.columns == factors.count else {
          throw CalibrationError.statisticsMismatch(
            reason: "'\(weight)' has \(statistics.columns) inputs, not \(factors.count)")
        }
        statistics.divideInputs(by: factors)
        return .values(statistics)
      }
    }
    return result
  }
}

extension InputStatistics {
  fileprivate mutating func divideInputs(by factors: [Float]) {
    let inverse = factors.map { 1 / $0 }
    for column in factors.indices {
      squareSums[column] *= Double(inverse[column]) * Double(inverse[column])
      maxima[column] *= inverse[column]
    }
    guard var sums = secondMomentSum else { return }
    for index in sums.indices {
      sums[index] *= inverse[index / factors.count] * inverse[index % factors.count]
    }
    secondMomentSum = sums
  }
}
