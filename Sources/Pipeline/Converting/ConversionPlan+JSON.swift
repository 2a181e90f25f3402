import SafeIO
import TensorCore

extension ConversionPlan {
  /// The plan as one object.
  public var json: JSONValue {
    [
      "container": .string(request.container.name),
      "weights": .array(entries.map(\.json)),
      "refused": JSONValue(refused.count),
    ]
  }
}

extension PlannedFile {
  /// The file as an object.
  public var json: JSONValue {
    [
      "path": .string(path), "tensors": JSONValue(tensorCount), "tensor_bytes": JSONValue(tensorByteCount),
    ]
  }
}

extension ConversionPlan.Entry {
  fileprivate var json: JSONValue {
    var object: JSONObject = [
      "name": .string(name), "shape": .array(shape.dimensions.map { JSONValue($0) }),
      "source": .string(source), "target": .string(target), "verdict": .string(verdict.kind),
    ]
    switch verdict {
    case .bounded(let bound): object["bound"] = .number(Double(bound))
    case .refused(let reason): object["reason"] = .string(reason)
    case .exact, .rounded: break
    }
    if let remark { object["remark"] = .string(remark) }
    return .object(object)
  }
}

extension ConversionPlan.Verdict {
  /// One word for the kind of verdict.
  public var kind: String {
    switch self {
    case .exact: "exact"
    case .bounded: "bounded"
    case .rounded: "rounded"
    case .refused: "refused"
    }
  }
}

extension ConversionProof {
  /// The proof as one object.
  public var json: JSONValue {
    [
      "maximum_difference": .number(Double(worst?.maximumDifference ?? 0)),
      "exact_weights": JSONValue(exactCount),
      "weights": .array(
        rows.map { row in
          [
            "name": .string(row.name), "maximum_difference": .number(Double(row.maximumDifference)),
            "maximum_magnitude": .number(Double(row.maximumMagnitude)),
            "relative_error": .number(row.relativeError),
          ]
        }),
    ]
  }
}
