import ArgumentParser

/// Options of quantization methods. Each becomes an option of the method, which refuses those that it does not have.
struct MethodArguments: ParsableArguments {
  @Option(help: "gptq: share of the mean diagonal added to the second moment (default 0.01).")
  var damping: Double?

  @Option(help: "gptq: columns between two full updates (default 128).")
  var blockSize: Int?

  @Flag(
    inversion: .prefixedNo, help: "gptq: round columns by falling importance, with static groups (default).")
  var actOrder: Bool?

  @Flag(
    inversion: .prefixedNo, help: "gptq: fix all scales before rounding; implied by act-order (default no).")
  var staticGroups: Bool?

  @Option(help: "How scales are chosen: extremes or least-squares (rtn: extremes, gptq: least-squares).")
  var scaleSearch: String?

  /// The options that were given, as the methods name them.
  var values: [String: String] {
    var values: [String: String] = [:]
    values["damping"] = damping.map { "\($0)" }
    values["block-size"] = blockSize.map { "\($0)" }
    values["act-order"] = actOrder.map { "\($0)" }
    values["static-groups"] = staticGroups.map { "\($0)" }
    values["scale-search"] = scaleSearch
    return values
  }
}

/// A number of bytes such as `900MiB`, `8GB` or `1048576`.
struct ByteCount: ExpressibleByArgument {
  let value: Int

  init?(argument: String) {
    let units: [(String, Int)] = [
      ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40), ("kB", 1000), ("MB", 1_000_000),
      ("GB", 1_000_000_000), ("B", 1),
    ]
    let unit = units.first { argument.hasSuffix($0.0) }
    let number = unit.map { String(argument.dropLast($0.0.count)) } ?? argument
    guard let parsed = Double(number), parsed > 0, parsed * Double(unit?.1 ?? 1) < 1e18 else { return nil }
    value = Int(parsed * Double(unit?.1 ?? 1))
  }
}
