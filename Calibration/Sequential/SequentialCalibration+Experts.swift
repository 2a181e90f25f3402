import Codecs
import Execution
import GraphIR

extension SequentialCalibration {
  /// Observes the inputs of an expert: those of the tokens that go to it, then those of the tokens that it borrows.
  func observeExpert(
    of group: LinearGroup, _ store: [[ValueID: StoredActivation]], _ experts: inout ExpertObservation,
    _ observer: inout InputObserver?, weight: (String) throws -> Weight
  ) throws {
    guard let expert = group.expert, let (layer, assignment) = experts.layer(of: group) else { return }
    try computeBorrowed(group, layer, assignment, store, &experts, weight: weight)
    guard observer != nil else { return }
    for (number, values) in store.enumerated() {
      guard let inputs = values[group.input]?.floats, let routing = values[layer.routing]?.floats else {
        continue
      }
      let rows = rows(of: expert.number, in: inputs, routing: routing, group, layer)
      try unsafe rows.withUnsafeBufferPointer {
        try unsafe observe($0, of: group, window: number, &observer)
      }
    }
    guard !assignment.borrowed[expert.number].isEmpty else { return }
    let rows = borrowedRows(of: expert.number, group, layer, assignment, store, experts)
    try unsafe rows.withUnsafeBufferPointer {
      try unsafe observe($0, of: group, window: windows.windows.count, isBorrowed: true, &observer)
    }
  }

  /// Rows of the tokens that go to an expert, from the places that they have there.
  private func rows(
    of expert: Int, in inputs: [Float], routing: [Float], _ group: LinearGroup,
    _ layer: ExpertObservation.Layer
  ) -> [Float] {
    let width = graph.type(of: group.input).columns ?? group.columns
    var rows: [Float] = []
    for token in 0..<inputs.count / max(width, 1) {
      let chosen = ExpertAssignment.experts(of: token, in: routing, layer.experts, layer.chosen)
      guard let place = chosen.firstIndex(of: expert) else { continue }
      let start = token * width + (width == group.columns ? 0 : place * group.columns)
      rows += inputs[start..<start + group.columns]
    }
    return rows
  }

  private func borrowedRows(
    of expert: Int, _ group: LinearGroup, _ layer: ExpertObservation.Layer, _ assignment: ExpertAssignment,
    _ store: [[ValueID: StoredActivation]], _ experts: ExpertObservation
  ) -> [Float] {
    if layer.made.contains(group.input) {
      guard let known = experts.borrowedRows, known.value == group.input else { return [] }
      return known.rows[expert] ?? []
    }
    return assignment.borrowed[expert].flatMap { place -> ArraySlice<Float> in
      guard let inputs = store[place.window][group.input]?.floats else { return [] }
      return inputs[place.token * group.columns..<(place.token + 1) * group.columns]
    }
  }

  /// Computes what experts make of the tokens that they borrow, once for all experts that read the same value.
  private func computeBorrowed(
    _ group: LinearGroup, _ layer: ExpertObservation.Layer, _ assignment: ExpertAssignment,
    _ store: [[ValueID: StoredActivation]], _ experts: inout ExpertObservation,
    weight: (String) throws -> Weight
  ) throws {
    guard layer.made.contains(group.input), experts.borrowedRows?.value != group.input,
      assignment.borrowed.contains(where: { !$0.isEmpty })
    else { return }
    let inputs = layer.kept.sorted()
    let part = try graph.subgraph(inputs: inputs, outputs: [group.input])
    let session = Session(program: try Program(graph: part, options: options, weight: weight), pool: pool)
    var rows: [Int: [Float]] = [:]
    for (number, tokens) in windows.windows.enumerated() {
      for routing in assignment.borrowings(window: number, tokens: tokens.count, chosen: layer.chosen) {
        let values = inputs.map { $0 == layer.routing ? routing : store[number][$0]?.floats ?? [] }
        session.reset()
        try unsafe withPointers(values) { pointers in
          let names = inputs.map { graph.name(of: $0) }
          let floats = unsafe Dictionary(uniqueKeysWithValues: zip(names, pointers))
          try unsafe session.run(tokens: tokens, floats: floats) { outputs in
            let made = unsafe Array(outputs[0])
            for expert in assignment.borrowed.indices {
              rows[expert, default: []] += self.rows(of: expert, in: made, routing: routing, group, layer)
            }
          }
        }
      }
    }
    experts.keep(rows, of: group.input)
  }
}
