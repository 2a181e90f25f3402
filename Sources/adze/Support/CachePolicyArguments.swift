import Architectures
import ArgumentParser
import Codecs
import Execution
import Pipeline

/// Options that say which entries of full caches stay.
struct CachePolicyArguments: ParsableArguments {
  @Option(
    name: .customLong("kv-policy"),
    help: ArgumentHelp(
      """
      Which entries of full caches stay: \
      \(CachePolicies.entries.map { "\($0.name) (\($0.summary))" }.joined(separator: "; ")).
      """, valueName: "policy"))
  var name = "full"

  @Option(
    name: .customLong("kv-budget"),
    help: ArgumentHelp("Most entries of a layer's cache.", valueName: "tokens"))
  var budget: Int?

  @Option(
    name: .customLong("kv-sinks"),
    help: ArgumentHelp("First tokens that always stay, for streaming (default: 4).", valueName: "tokens"))
  var sinks: Int?

  @Option(
    name: .customLong("kv-window"),
    help: ArgumentHelp("Last tokens that always stay, or whose queries choose.", valueName: "tokens"))
  var window: Int?

  func validate() throws {
    guard CachePolicies.entries.contains(where: { $0.name == name }) else {
      let names = CachePolicies.entries.map(\.name).joined(separator: ", ")
      throw ValidationError("--kv-policy is one of \(names), not '\(name)'.")
    }
    for (option, value, least) in [
      ("--kv-budget", budget, 2), ("--kv-sinks", sinks, 0), ("--kv-window", window, 1),
    ] {
      guard let value, !(least...1 << 24).contains(value) else { continue }
      throw ValidationError("\(option) is \(least) to \(1 << 24).")
    }
  }

  /// The options as they were given, for a child process.
  var arguments: [String] {
    var list = name == "full" ? [] : ["--kv-policy", name]
    for (option, value) in [("--kv-budget", budget), ("--kv-sinks", sinks), ("--kv-window", window)] {
      if let value { list += [option, "\(value)"] }
    }
    return list
  }

  /// The policy for a model; nil for caches that grow.
  func policy(for model: LoadedModel) throws -> (any CachePolicy)? {
    try CachePolicies.policy(
      named: name,
      CachePolicyOptions(
        contextLength: model.summary.sizes.contextLength, budget: budget, sinks: sinks, window: window))
  }
}

extension Session {
  /// How keys and values are cached, for people: format, policy and bytes.
  var cacheText: String {
    var parts = ["\(program.cache.format)"]
    if let policy = program.options.cachePolicy { parts.append("\(policy)") }
    return parts.joined(separator: ", ")
  }
}
