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
      var statistics = try stored.load()
      guard statistics.columns == factors.count else {
        throw CalibrationError.statisticsMismatch(
          reason: "'\(weight)' has \(statistics.columns) inputs, not \(factors.count)")
      }
      let inverse = factors.map { 1 / $0 }
      for column in factors.indices {
        statistics.squareSums[column] *= Double(inverse[column]) * Double(inverse[column])
        statistics.maxima[column] *= inverse[column]
      }
      if var sums = statistics.secondMomentSum {
        for index in sums.indices {
          sums[index] *= inverse[index / factors.count] * inverse[index % factors.count]
        }
        statistics.secondMomentSum = sums
      }
      result.groups[key] = .values(statistics)
    }
    return result
  }
}
