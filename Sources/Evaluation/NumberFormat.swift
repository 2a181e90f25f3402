/// Numbers as people read them, the same on every machine.
public enum NumberFormat {
  /// A number with a fixed count of decimals, rounded to nearest, without an exponent up to 1e15; `inf` and
  /// `nan` as such.
  public static func fixed(_ value: Double, _ decimals: Int) -> String {
    guard value.isFinite else { return value.isNaN ? "nan" : value < 0 ? "-inf" : "inf" }
    let places = min(max(decimals, 0), 12)
    var scale = 1.0
    for _ in 0..<places { scale *= 10 }
    let scaled = (value.magnitude * scale).rounded(.toNearestOrEven)
    guard scaled < 1e18 else { return "\(value)" }
    let units = Int(scaled)
    let divisor = Int(scale)
    let sign = value < 0 && units > 0 ? "-" : ""
    guard places > 0 else { return "\(sign)\(units)" }
    let fraction = String(units % divisor)
    return "\(sign)\(units / divisor)." + String(repeating: "0", count: places - fraction.count) + fraction
  }

  /// A number with a count of significant digits; very small and very large ones with an exponent.
  public static func significant(_ value: Double, _ digits: Int) -> String {
    guard value.isFinite, value != 0 else { return value == 0 ? "0" : fixed(value, 0) }
    var exponent = 0
    var mantissa = value.magnitude
    while mantissa >= 10 && exponent < 400 {
      mantissa /= 10
      exponent += 1
    }
    while mantissa < 1 && exponent > -400 {
      mantissa *= 10
      exponent -= 1
    }
    // Rounding may carry into another digit.
    if fixed(mantissa, digits - 1).hasPrefix("10") {
      mantissa /= 10
      exponent += 1
    }
    if (-5..<9).contains(exponent) { return fixed(value, max(0, digits - 1 - exponent)) }
    return (value < 0 ? "-" : "") + fixed(mantissa, digits - 1) + "e\(exponent)"
  }

  /// A value with its error, both to the last significant digit of the error that is asked for: `27.56 ± 0.21`.
  public static func uncertain(_ value: Double, error: Double, digits: Int = 2) -> String {
    guard error > 0, error.isFinite, value.isFinite else { return significant(value, 5) }
    var decimals = 0
    var scaled = error
    var least = 1.0
    for _ in 1..<max(digits, 1) { least *= 10 }
    while scaled < least && decimals < 9 {
      scaled *= 10
      decimals += 1
    }
    return "\(fixed(value, decimals)) ± \(fixed(error, decimals))"
  }

  /// Bytes in binary units.
  public static func bytes(_ count: Int) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    var value = Double(count)
    var unit = 0
    while value >= 1024 && unit + 1 < units.count {
      value /= 1024
      unit += 1
    }
    return unit == 0 ? "\(count) B" : "\(significant(value, value >= 1000 ? 4 : 3)) \(units[unit])"
  }

  /// Tokens a second.
  public static func rate(_ value: Double) -> String {
    value >= 100 ? grouped(value) : significant(value, 3)
  }

  /// A whole number with thin gaps between groups of three digits.
  public static func grouped(_ value: Double) -> String {
    let digits = fixed(value, 0)
    guard digits.allSatisfy({ $0.isASCII && $0.isNumber }) else { return digits }
    var result = ""
    for (index, digit) in digits.enumerated() {
      if index > 0 && (digits.count - index) % 3 == 0 && digits.count > 4 { result += "\u{202F}" }
      result.append(digit)
    }
    return result
  }
}
