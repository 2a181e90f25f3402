import SafeIO

/// What a transform did to a model.
public struct TransformReport: Sendable, Equatable {
  /// One place where factors were folded.
  public struct Site: Sendable, Equatable {
    /// Weights whose columns were multiplied.
    public var weights: [String]
    /// Output error of rounding after, relative to before.
    public var relativeLoss: Double
    /// The ratio that was best.
    public var ratio: Double
    /// Whether weights counted beside inputs.
    public var isDuo: Bool
  }

  /// Name of the transform.
  public var name: String
  /// Places where it found something better.
  public var sites: [Site] = []
  /// Places where nothing was better.
  public var unchangedCount = 0
  /// Groups of weights that read values which nothing can take factors over for.
  public var unfoldableCount = 0
  /// Weights whose rows or columns were turned.
  public var rotated: [String] = []
  /// Columns of the residual stream that was turned; 0 when it was not.
  public var streamWidth = 0
  /// Inputs that are multiplied with Hadamard matrices when the model runs.
  public var turnedInputs = 0
  /// What was left out, and why.
  public var refusals: [String] = []

  var json: JSONValue {
    var json: JSONObject = ["name": .string(name)]
    if !rotated.isEmpty {
      json["rotated"] = .array(rotated.map { .string($0) })
      json["stream_width"] = JSONValue(streamWidth)
      json["turned_inputs"] = JSONValue(turnedInputs)
    } else {
      json["unchanged"] = JSONValue(unchangedCount)
      json["unfoldable"] = JSONValue(unfoldableCount)
      json["sites"] = .array(sites.map(\.json))
    }
    if !refusals.isEmpty { json["refusals"] = .array(refusals.map { .string($0) }) }
    return .object(json)
  }

  /// One line for people.
  public var summary: String {
    guard rotated.isEmpty else {
      let stream = streamWidth > 0 ? ", those of the residual stream (\(streamWidth) columns) among them" : ""
      let inputs = turnedInputs > 0 ? ", \(turnedInputs) inputs turned when it runs" : ""
      return "\(name): \(rotated.count) weights turned\(stream)\(inputs)"
        + refusals.map { "; not \($0)" }.joined()
    }
    return "\(name): factors folded at \(sites.count) places, at \(unchangedCount) none is better, "
      + "\(unfoldableCount) cannot take any"
  }
}

extension TransformReport.Site {
  fileprivate var json: JSONValue {
    [
      "weights": .array(weights.map { .string($0) }), "relative_loss": .number(relativeLoss),
      "ratio": .number(ratio), "duo": .bool(isDuo),
    ]
  }
}
