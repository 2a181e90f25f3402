import CKernels
import Codecs

extension KernelTable {
  /// A token's place with an expert: the `place`-th of the token's experts.
  private struct Assignment {
    let token: Int
    let place: Int
  }

  /// Products with the matrices of the experts that each token goes to, one matrix product for each expert in use.
  ///
  /// - Parameters:
  ///   - x: `[T, columns]`, or `[T, chosen * columns]` with inputs for each place.
  ///   - routing: `[T, experts]`; a token's experts are those with a weight other than 0, at most `chosen`.
  ///   - experts: a matrix `[out, columns]` for each expert.
  ///   - y: `[T, chosen * out]`; places without an expert become 0. Must not overlap `x`.
  ///   - activations: as in linear layers, whose bits each row has; one for all experts, or one for each.
  public func expertLinear(
    _ x: Rows, routing: Rows, experts: [PanelMatrix], chosen: Int, into y: Rows,
    activations: [InputQuantization] = [.float32], simulates: Bool = false, workspace: Workspace,
    pool: ThreadPool
  ) {
    let (columns, outputs) = (experts[0].columns, experts[0].rows)
    unsafe precondition(
      x.rows == y.rows && x.rows == routing.rows && routing.columns == experts.count
        && y.columns == chosen * outputs && (x.columns == columns || x.columns == chosen * columns),
      "shapes of experts")
    unsafe forEachExpert(
      x, routing: routing, experts, chosen: chosen, outputs: outputs, into: y, workspace, pool
    ) {
      expert, from, to in
      unsafe linear(
        from, experts[expert], into: to, activations: activations[min(expert, activations.count - 1)],
        simulates: simulates, workspace: workspace, pool: pool)
    }
  }

  /// Gates and factors by the experts that each token goes to, and their products, as ``linearGated(_:_:bias:product:into:activations:simulates:workspace:pool:)``
  /// makes them.
  ///
  /// - Parameters:
  ///   - experts: a matrix `[2 * n, columns]` for each expert: gates, then factors.
  ///   - biases: `2 * n` numbers for each expert, or nil.
  ///   - y: `[T, chosen * n]`; places without an expert become 0. Must not overlap `x`.
  public func expertGated(
    _ x: Rows, routing: Rows, experts: [PanelMatrix], biases: [[Float]]? = nil, chosen: Int,
    product: GatedProduct, into y: Rows, activations: [InputQuantization] = [.float32],
    simulates: Bool = false, workspace: Workspace, pool: ThreadPool
  ) {
    let (columns, outputs) = (experts[0].columns, experts[0].rows / 2)
    unsafe precondition(
      x.rows == y.rows && x.rows == routing.rows && routing.columns == experts.count
        && y.columns == chosen * outputs && (x.columns == columns || x.columns == chosen * columns)
        && biases?.count ?? experts.count == experts.count, "shapes of gated experts")
    unsafe forEachExpert(
      x, routing: routing, experts, chosen: chosen, outputs: outputs, into: y, workspace, pool
    ) {
      expert, from, to in
      let input = activations[min(expert, activations.count - 1)]
      unsafe (biases?[expert] ?? []).withUnsafeBufferPointer { bias in
        unsafe linearGated(
          from, experts[expert], bias: bias.isEmpty ? nil : bias.baseAddress, product: product, into: to,
          activations: input, simulates: simulates, workspace: workspace, pool: pool)
      }
    }
  }

  /// Calls `body` for each expert in use, with the rows of its tokens and those of its results.
  private func forEachExpert(
    _ x: Rows, routing: Rows, _ experts: [PanelMatrix], chosen: Int, outputs: Int, into y: Rows,
    _ workspace: Workspace, _ pool: ThreadPool, _ body: (Int, Rows, Rows) -> Void
  ) {
    let columns = experts[0].columns
    let inputStep = unsafe x.columns == columns ? 0 : columns
    let assignments = unsafe assignments(routing, chosen: chosen, clearing: y)
    for (expert, places) in assignments.enumerated() where !places.isEmpty {
      if places.count == 1 {
        let place = places[0]
        unsafe body(
          expert, Rows(x[place.token] + place.place * inputStep, rows: 1, columns: columns),
          Rows(y[place.token] + place.place * outputs, rows: 1, columns: outputs))
        continue
      }
      let (from, to) = unsafe workspace.expertRows(places.count, inputs: columns, outputs: outputs)
      forEachRow(places.count, columns: columns, pool) { row in
        let place = places[row]
        unsafe from[row].update(from: x[place.token] + place.place * inputStep, count: columns)
      }
      unsafe body(expert, from, to)
      forEachRow(places.count, columns: outputs, pool) { row in
        let place = places[row]
        unsafe (y[place.token] + place.place * outputs).update(from: to[row], count: outputs)
      }
    }
  }

  /// For each expert the tokens that go to it; clears the places of `y` that no expert fills.
  private func assignments(_ routing: Rows, chosen: Int, clearing y: Rows) -> [[Assignment]] {
    var result = unsafe [[Assignment]](repeating: [], count: routing.columns)
    let outputs = unsafe y.columns / chosen
    for token in unsafe 0..<routing.rows {
      var place = 0
      let weights = unsafe routing[token]
      for expert in result.indices where unsafe weights[expert] != 0 && place < chosen {
        result[expert].append(Assignment(token: token, place: place))
        place += 1
      }
      unsafe (y[token] + place * outputs).update(repeating: 0, count: (chosen - place) * outputs)
    }
    return result
  }

  /// Products with the biases of each token's experts added: float32. `x` and `y` are `[T, chosen * n]`, `bias` is
  /// `[experts, n]`; places without an expert stay. `y` may be `x`.
  public func expertBias(
    _ x: Rows, routing: Rows, bias: UnsafePointer<Float>, chosen: Int, into y: Rows, pool: ThreadPool
  ) {
    unsafe requireSame(x, y)
    unsafe precondition(x.rows == routing.rows && x.columns % chosen == 0, "shapes of biases of experts")
    guard let add = unsafe functions.add else { return }
    let width = unsafe x.columns / chosen
    unsafe forEachRow(x.rows, columns: x.columns, pool) { row in
      var place = 0
      let weights = unsafe routing[row]
      for expert in unsafe 0..<routing.columns where unsafe weights[expert] != 0 && place < chosen {
        unsafe add(x[row] + place * width, bias + expert * width, y[row] + place * width, width)
        place += 1
      }
      let rest = place * width
      unsafe (y[row] + rest).update(from: x[row] + rest, count: x.columns - rest)
    }
  }

  /// The weighted sum of the products of each token's experts, in the order of the experts: float32, product and sum
  /// rounded. `x` is `[T, chosen * n]`, `y` is `[T, n]` and must not overlap it.
  public func expertSum(_ x: Rows, routing: Rows, chosen: Int, into y: Rows, pool: ThreadPool) {
    unsafe precondition(
      x.rows == y.rows && x.rows == routing.rows && x.columns == chosen * y.columns,
      "shapes of a sum over experts")
    guard let function = unsafe functions.add_scaled else { return }
    unsafe forEachRow(x.rows, columns: x.columns, pool) { row in
      unsafe y[row].update(repeating: 0, count: y.columns)
      var place = 0
      let weights = unsafe routing[row]
      for expert in unsafe 0..<routing.columns where unsafe weights[expert] != 0 && place < chosen {
        unsafe function(x[row] + place * y.columns, weights[expert], y[row], y.columns)
        place += 1
      }
    }
  }
}
