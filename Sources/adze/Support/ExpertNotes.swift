import Calibration

/// What people are told of the tokens that experts saw.
enum ExpertNotes {
  /// Says how many experts saw too few tokens, before and after they borrowed some, and which still did.
  static func write(_ layers: [ExpertCoverage], minimum: Int) {
    guard !layers.isEmpty else { return }
    let least = max(minimum, 1)
    let experts = layers.reduce(0) { $0 + $1.routed.count }
    let before = layers.reduce(0) { $0 + $1.starved(below: least).count }
    let borrowed = layers.reduce(0) { $0 + $1.borrowed.reduce(0, +) }
    guard before > 0 else { return Console.note("each of \(experts) experts saw at least \(least) tokens") }
    let starved = layers.flatMap { layer in
      layer.stillStarved(below: least).map {
        "\(layer.scope) expert \($0) (\(layer.routed[$0] + layer.borrowed[$0]))"
      }
    }
    Console.note(
      "the router sent \(before) of \(experts) experts fewer than \(least) tokens; with \(borrowed) borrowed ones "
        + "\(starved.count) are below that")
    guard !starved.isEmpty else { return }
    let more = starved.count > 20 ? " and \(starved.count - 20) more" : ""
    Console.warn(
      "experts that saw fewer than \(least) tokens: \(starved.prefix(20).joined(separator: ", "))\(more)")
  }
}
