import Calibration
import SafeIO

extension [ExpertCoverage] {
  /// As reports show it: for each layer the tokens of each expert and the experts below the minimum, before and after they
  /// borrowed some. A minimum of 0 counts as 1.
  public func json(minimum: Int) -> JSONValue {
    let least = Swift.max(minimum, 1)
    func numbers(_ list: [Int]) -> JSONValue { .array(list.map { JSONValue($0) }) }
    return [
      "minimum_tokens": JSONValue(least),
      "below_minimum": JSONValue(reduce(0) { $0 + $1.starved(below: least).count }),
      "below_minimum_with_borrowed": JSONValue(reduce(0) { $0 + $1.stillStarved(below: least).count }),
      "layers": .array(
        map { layer in
          [
            "layer": .string(layer.scope), "tokens": numbers(layer.routed),
            "borrowed_tokens": numbers(layer.borrowed), "below_minimum": numbers(layer.starved(below: least)),
            "below_minimum_with_borrowed": numbers(layer.stillStarved(below: least)),
          ]
        }),
    ]
  }
}
