import Codecs
import Testing

@Suite struct ActivationSchemeTests {
  @Test func namesAndSchemesAreInverse() {
    for entry in ActivationScheme.all {
      #expect(ActivationScheme(name: entry.name) == entry.scheme)
      #expect(entry.scheme.description == entry.name)
    }
    #expect(Set(ActivationScheme.all.map(\.scheme)).count == ActivationScheme.all.count)
    let other = ActivationScheme.outliers(from: 4.5)
    #expect(other.description == "int8-outliers-4.5" && ActivationScheme(name: other.description) == other)
    #expect(ActivationScheme(name: "int8") == .int8Block)
    for name in [
      "", "int8-", "int8-outliers-", "int8-outliers--1", "int8-outliers-nan", "int8-outliers-inf", "int4",
      "int4-tensor",
    ] {
      #expect(ActivationScheme(name: name) == nil, "\(name)")
    }
  }

  @Test func joinedInputsHaveTheLargestScaleAndAllOutliers() {
    let parts = [
      InputQuantization(.int8Tensor, scale: 0.5, outlierColumns: [3, 9]),
      InputQuantization(.int8Tensor, scale: 2, outlierColumns: [1, 9]),
    ]
    #expect(
      InputQuantization.joined(parts) == InputQuantization(.int8Tensor, scale: 2, outlierColumns: [1, 3, 9]))
    #expect(InputQuantization.joined([parts[0], InputQuantization(.int8Token)]) == nil)
    #expect(InputQuantization.joined([]) == nil)
  }

  @Test func problemsAreNamed() {
    #expect(InputQuantization(.int8Token).problem(columns: 4) == nil)
    #expect(InputQuantization(.int8Tensor).problem(columns: 4) != nil)
    for scale: Float in [0, -1, .nan, .infinity, .leastNonzeroMagnitude] {
      #expect(InputQuantization(.fp8Tensor, scale: scale).problem(columns: 4) != nil, "\(scale)")
    }
    for columns in [[4], [-1], [2, 1], [1, 1]] {
      #expect(InputQuantization(.int8Token, outlierColumns: columns).problem(columns: 4) != nil, "\(columns)")
    }
    #expect(InputQuantization(.int8Token, outlierColumns: [0, 3]).problem(columns: 4) == nil)
  }
}
