import Codecs
import GraphIR
import OrderedCollections
import SafeIO
import TensorCore

/// What a conversion would do to each weight, before any of it is done.
public struct ConversionPlan: Sendable {
  /// What becomes of the values of a weight.
  public enum Verdict: Sendable, Equatable {
    /// Every value stays the same number.
    case exact
    /// No value moves by more than this.
    case bounded(Float)
    /// Values are rounded to those of a codec or type; how far they move is measured.
    case rounded
    /// It cannot be done, for this reason.
    case refused(String)
  }

  /// One weight of the plan.
  public struct Entry: Sendable {
    /// Name of the weight.
    public let name: String
    /// `[out, in]` for matrices.
    public let shape: Shape
    /// How it is stored now.
    public let source: String
    /// How it is stored anew; nil: as it is.
    public let recoding: WeightRecoding?
    /// What becomes of its values.
    public let verdict: Verdict
    /// What should be known besides, such as why a weight is left as it is.
    public let remark: String?

    /// How it will be stored.
    public var target: String { recoding?.encodingName ?? source }
  }

  /// What was asked for.
  public let request: ConversionRequest
  /// Every weight, in the model's order.
  public let entries: [Entry]

  /// Plans a conversion. Reads scales and zero points, not the weights.
  /// - Throws: ``PipelineError``.
  public init(_ request: ConversionRequest, of model: LoadedModel) throws {
    self.request = request
    let weights = try model.requireCheckpoint().filter { !model.derivedNames.contains($0.key) }
    var selected: Set<String> = []
    if let codec = request.codec {
      let recipe = QuantizationRecipe(
        methodName: "rtn", codec: codec, targets: request.targets, ignored: request.ignored)
      selected = Set(try recipe.selectedWeights(in: model.graph))
    }
    entries = weights.map { name, weight in
      ConversionPlanner(request: request, isSelected: selected.contains(name)).entry(name, weight)
    }
  }

  /// Weights that cannot be converted.
  public var refused: [Entry] {
    entries.filter { if case .refused = $0.verdict { true } else { false } }
  }

  /// - Throws: ``PipelineError/weight(_:reason:)`` for the first weight that cannot be converted.
  func requireWhole() throws(PipelineError) {
    guard let first = refused.first, case .refused(let reason) = first.verdict else { return }
    throw .refusedConversion(
      container: request.container.name, weight: first.name, reason: reason, count: refused.count,
      total: entries.count)
  }
}

extension ConversionPlan.Verdict {
  /// As tables show it.
  public var text: String {
    switch self {
    case .exact: "exact"
    case .bounded(let bound): "within \(bound)"
    case .rounded: "rounded"
    case .refused: "refused"
    }
  }
}

/// Decides on one weight.
private struct ConversionPlanner {
  let request: ConversionRequest
  let isSelected: Bool

  func entry(_ name: String, _ weight: Weight) -> ConversionPlan.Entry {
    func entry(_ recoding: WeightRecoding?, _ verdict: ConversionPlan.Verdict, _ remark: String? = nil)
      -> ConversionPlan.Entry
    {
      ConversionPlan.Entry(
        name: name, shape: weight.shape, source: weight.encodingName, recoding: recoding, verdict: verdict,
        remark: remark)
    }
    switch weight {
    case .dense(let tensor):
      var remark: String?
      if isSelected, let codec = request.codec {
        let refusal = request.container.refusal(codec, tensor.shape.rows, tensor.shape.columns)
        guard let reason = refusal ?? Self.misfit(codec, tensor.shape) else {
          return entry(.round(codec, search: request.search), .rounded)
        }
        remark = "not rounded: \(reason)"
      }
      guard let type = request.elementType, tensor.elementType.isFloatingPoint, type != tensor.elementType,
        tensor.shape.rank > 1
      else { return entry(nil, .exact, remark) }
      return entry(.dense(type), Self.keeps(tensor.elementType, in: type) ? .exact : .rounded, remark)
    case .encoded(let matrix):
      if request.dequantizes {
        let type = request.elementType ?? .bf16
        return entry(.dense(type), type == .f32 ? .exact : .rounded)
      }
      if request.container.refusal(matrix.codec, matrix.rows, matrix.columns) == nil {
        return entry(nil, .exact)
      }
      switch BridgeSearch(container: request.container).best(for: matrix) {
      case .found(let bridge, .exact): return entry(.bridge(bridge), .exact)
      case .found(let bridge, .rounded(let bound)): return entry(.bridge(bridge), .bounded(bound))
      case .found(_, .impossible(let reason)), .none(let reason): return entry(nil, .refused(reason))
      }
    }
  }

  /// Why a codec's blocks do not fit a shape; nil when they do.
  private static func misfit(_ codec: any Codec, _ shape: Shape) -> String? {
    guard let block = codec as? any BlockCodec, shape.columns % block.blockLength != 0 else { return nil }
    return "\(shape.columns) columns are not whole blocks of \(block.blockLength)"
  }

  /// Whether every number of a type is one of the other.
  private static func keeps(_ type: ElementType, in other: ElementType) -> Bool {
    switch (type, other) {
    case (_, .f32): type.bitWidth <= 32
    case (.f8e4m3, .f16), (.f8e4m3, .bf16), (.f8e5m2, .f16), (.f8e5m2, .bf16): true
    default: type == other
    }
  }
}
