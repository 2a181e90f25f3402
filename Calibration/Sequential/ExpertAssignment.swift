import Glibc

/// The tokens that the statistics of a layer's experts are made of: those that the router sends to each, and for an expert that
/// gets few, those that it would get next.
struct ExpertAssignment {
  /// A token of the corpus.
  struct Place: Hashable {
    let window: Int
    let token: Int
  }

  /// Tokens that the router sends to each expert.
  private(set) var routed: [Int]
  /// Tokens that each expert borrows, in the order of the corpus.
  private(set) var borrowed: [[Place]]

  /// - Parameters:
  ///   - routing: the weights of the experts `[tokens, experts]` of each window, 0 where a token does not go.
  ///   - scores: what the router gives each expert `[tokens, experts]`, as far as it can be compared between tokens; nil to
  ///     borrow nothing.
  ///   - chosen: most experts of a token.
  ///   - minimum: tokens that each expert should see.
  init(routing: [[Float]], scores: [[Float]]?, experts: Int, chosen: Int, minimum: Int) {
    routed = [Int](repeating: 0, count: experts)
    borrowed = [[Place]](repeating: [], count: experts)
    for window in routing {
      for token in 0..<window.count / experts {
        for expert in Self.experts(of: token, in: window, experts, chosen) { routed[expert] += 1 }
      }
    }
    guard let scores else { return }
    for expert in 0..<experts where routed[expert] < minimum {
      borrowed[expert] = Self.best(
        minimum - routed[expert], of: expert, routing, scores, experts: experts, chosen: chosen)
    }
  }

  /// Experts of a token, by rising number.
  static func experts(of token: Int, in routing: [Float], _ experts: Int, _ chosen: Int) -> [Int] {
    Array((0..<experts).filter { routing[token * experts + $0] != 0 }.prefix(chosen))
  }

  /// The tokens with the highest scores for an expert among those that do not go to it; the earlier one among equals.
  private static func best(
    _ count: Int, of expert: Int, _ routing: [[Float]], _ scores: [[Float]], experts: Int, chosen: Int
  ) -> [Place] {
    var candidates: [(score: Float, place: Place)] = []
    for window in routing.indices {
      for token in 0..<routing[window].count / experts
      where !Self.experts(of: token, in: routing[window], experts, chosen).contains(expert) {
        candidates.append((scores[window][token * experts + expert], Place(window: window, token: token)))
      }
    }
    let order = candidates.indices.sorted { (candidates[$0].score, $1) > (candidates[$1].score, $0) }
    return order.prefix(count).sorted().map { candidates[$0].place }
  }

  /// Routings of a window that send borrowed tokens, and no others, to the experts that borrow them, with weight 1. A token
  /// that more than `chosen` experts borrow takes several.
  func borrowings(window: Int, tokens: Int, chosen: Int) -> [[Float]] {
    let experts = borrowed.count
    var rounds: [[Float]] = []
    var places = [Int](repeating: 0, count: tokens)
    for expert in 0..<experts {
      for place in borrowed[expert] where place.window == window {
        let round = places[place.token] / chosen
        places[place.token] += 1
        if round == rounds.count { rounds.append([Float](repeating: 0, count: tokens * experts)) }
        rounds[round][place.token * experts + expert] = 1
      }
    }
    return rounds
  }

  /// Logarithms of a router's softmax, or the logits themselves where each is squashed by itself, which keeps their order.
  static func scores(logits: [Float], experts: Int, isSoftmax: Bool) -> [Float] {
    guard isSoftmax else { return logits }
    var scores = logits
    for start in stride(from: 0, to: logits.count, by: experts) {
      let row = logits[start..<start + experts]
      let largest = Double(row.max() ?? 0)
      let total = row.reduce(0.0) { $0 + exp(Double($1) - largest) }
      for index in row.indices { scores[index] = Float(Double(logits[index]) - largest - log(total)) }
    }
    return scores
  }
}
