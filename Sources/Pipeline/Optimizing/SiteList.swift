/// Names of values as people say them: what repeats from block to block is said once.
public enum SiteList {
  /// `g*, u* for 0-7` instead of sixteen names; names without numbers stay as they are.
  public static func text(_ names: [String]) -> String {
    var order: [String] = []
    var numbers: [String: [Int]] = [:]
    for name in names {
      let (pattern, number) = pattern(name)
      if numbers[pattern] == nil { order.append(pattern) }
      numbers[pattern, default: []] += number.map { [$0] } ?? []
    }
    return order.map { pattern in
      let all = numbers[pattern] ?? []
      if all.isEmpty { return pattern }
      if all.count == 1 { return pattern.replacing("*", with: "\(all[0])") }
      return "\(pattern) for \(ranges(all))"
    }.joined(separator: "; ")
  }

  /// The name with `*` for its number, when all numbers in it are the same one.
  private static func pattern(_ name: String) -> (String, Int?) {
    var pattern = ""
    var digits = ""
    var found: Set<String> = []
    for character in name + " " {
      if character.isASCII, character.isNumber {
        digits.append(character)
        continue
      }
      if !digits.isEmpty {
        found.insert(digits)
        pattern += "*"
        digits = ""
      }
      pattern.append(character)
    }
    guard found.count == 1, let number = found.first.flatMap({ Int($0) }) else { return (name, nil) }
    return (String(pattern.dropLast()), number)
  }

  /// `0-7, 9`.
  private static func ranges(_ numbers: [Int]) -> String {
    var runs: [ClosedRange<Int>] = []
    for number in numbers.sorted() {
      if let last = runs.last, number <= last.upperBound + 1 {
        runs[runs.count - 1] = last.lowerBound...max(number, last.upperBound)
      } else {
        runs.append(number...number)
      }
    }
    return runs.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }
      .joined(separator: ", ")
  }
}
