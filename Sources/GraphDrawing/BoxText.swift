import GraphIR
import OrderedCollections

/// What a box says, and what kind of operation it shows.
struct BoxText: Equatable {
  /// What colours and the legend tell apart.
  enum Category: String, CaseIterable {
    case projection, normalization, attention, activation, sum, experts, data, elided

    /// What the legend says.
    var label: String {
      switch self {
      case .projection: "projection, table"
      case .normalization: "normalization"
      case .attention: "attention, positions"
      case .activation: "elementwise"
      case .sum: "sum with the stream"
      case .experts: "routing of experts"
      case .data: "input, output"
      case .elided: "other blocks"
      }
    }
  }

  var title: String
  var category: Category
  /// Weights and settings, a line each.
  var details: [String] = []
  /// Shape of the result.
  var shape = ""

  /// Names of values and weights are those of the graph; `scope` is left off their beginning where it is theirs.
  init(_ item: DrawnPart.Item, in graph: Graph) {
    switch item {
    case .input(let value):
      self.init(title: graph.name(of: value), category: .data, shape: "\(graph.type(of: value))")
    case .output(let value):
      self.init(title: graph.name(of: value), category: .data, shape: "\(graph.type(of: value))")
    case .elided(let range, let label):
      self.init(title: label, category: .elided, shape: "\(range.count) nodes")
    case .node(let index): self.init(graph.nodes[index], in: graph)
    }
  }

  private init(title: String, category: Category, shape: String) {
    self.title = title
    self.category = category
    self.shape = shape
  }

  private init(_ node: Node, in graph: Graph) {
    let (title, category) = Self.titles[node.operation] ?? (Self.spaced(node.operation.rawValue), .activation)
    self.init(
      title: title, category: category,
      shape: node.results.map { "\(graph.type(of: $0))" }.joined(separator: ", "))
    for operand in node.operands where !operand.constants.isEmpty { details += Self.weight(operand, graph) }
    details += Self.settings(node)
    let integers = node.valueOperands.filter { graph.type(of: $0).element == .i32 }
    if node.operation != .embedding { details += integers.map { "by " + graph.name(of: $0) } }
  }

  private static let titles: [Operation: (String, Category)] = [
    .embedding: ("Embedding", .projection), .linear: ("Linear", .projection),
    .expertLinear: ("Linear by expert", .projection), .rmsNorm: ("RMS norm", .normalization),
    .layerNorm: ("Layer norm", .normalization), .addRMSNorm: ("Add, RMS norm", .normalization),
    .rope: ("Rotary positions", .attention), .attention: ("Attention", .attention),
    .joinHeads: ("Join heads", .attention), .add: ("Add", .sum), .multiply: ("Multiply", .activation),
    .scale: ("Scale", .activation), .silu: ("SiLU", .activation), .gelu: ("GELU", .activation),
    .relu: ("ReLU", .activation), .sigmoid: ("Sigmoid", .activation), .clamp: ("Clamp", .activation),
    .hadamard: ("Hadamard", .activation),
    .softcap: ("Soft cap", .activation), .slice: ("Slice", .activation), .swiglu: ("SwiGLU", .activation),
    .geglu: ("GEGLU", .activation), .addLayerNorm: ("Add, layer norm", .normalization),
    .linearActivation: ("Linear, activation", .projection), .linearGated: ("Linear, gated", .projection),
    .expertGated: ("Linear by expert, gated", .projection), .limitedGLU: ("Limited GLU", .activation),
    .rotaryAttention: ("Rotary attention", .attention),
    .scaleRows: ("Scale rows", .activation), .route: ("Route", .experts),
    .expertBias: ("Bias by expert", .experts), .expertSum: ("Sum of experts", .experts),
  ]

  private static func spaced(_ name: String) -> String { name.replacing("_", with: " ") }

  /// Name, shape and encoding of a weight; many of one kind are counted.
  private static func weight(_ operand: Operand, _ graph: Graph) -> [String] {
    let names = operand.constants
    guard let first = names.first, let type = graph.constants[first] else { return [] }
    let encodings = Set(names.compactMap { graph.constants[$0]?.encoding }).sorted().joined(separator: ", ")
    let shape = type.dimensions.map(String.init).joined(separator: ", ")
    if names.count == 1 { return [first, "[\(shape)] \(encodings)"] }
    if names.count <= 3 {
      return names + [
        "[\(names.compactMap { graph.constants[$0]?.dimensions.first }.map(String.init).joined(separator: " + ")), \(type.dimensions.last ?? 0)] \(encodings)"
      ]
    }
    return ["\(common(names)) × \(names.count)", "[\(shape)] each, \(encodings)"]
  }

  /// The name that several share, with `*` where they differ.
  private static func common(_ names: [String]) -> String {
    let first = Array(names[0].split(separator: ".")),
      last = Array(names[names.count - 1].split(separator: "."))
    guard first.count == last.count else { return names[0] + " …" }
    return zip(first, last).map { $0 == $1 ? String($0) : "*" }.joined(separator: ".")
  }

  /// Attributes that differ from their defaults, as people say them.
  private static func settings(_ node: Node) -> [String] {
    func number(_ name: String) -> String? { node.attributes[name].map { "\($0.text)" } }
    var lines: [String] = []
    if let heads = number("heads"), let width = number("head_dim") {
      let keys = number("kv_heads").map { $0 == heads ? "" : ", \($0) for keys" } ?? ""
      lines.append("\(heads) heads of \(width)\(keys)")
    } else if let heads = number("heads") {
      lines.append("\(heads) heads")
    }
    let named = ["heads", "head_dim", "kv_heads", "cache", "theta"]
    for (name, value) in node.attributes where !named.contains(name) {
      lines.append("\(spaced(name)) \(value.text)")
    }
    return lines
  }
}

extension Attribute {
  /// As a person writes it: at most six significant digits.
  fileprivate var text: String {
    switch self {
    case .string(let text): text
    case .float(let value): Self.short(value)
    case .int(let value): "\(value)"
    case .bool(let value): value ? "yes" : "no"
    case .ints(let values): values.map { "\($0)" }.joined(separator: " ")
    }
  }

  private static func short(_ value: Double) -> String {
    if value == value.rounded(), abs(value) < 1e15 { return "\(Int(value))" }
    let exact = "\(Float(value))"
    guard exact.count > 8, !exact.contains("e"), abs(value) < 1e6 else { return exact }
    return "\((value * 1e5).rounded() / 1e5)"
  }
}
