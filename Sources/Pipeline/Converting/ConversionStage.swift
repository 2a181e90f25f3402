import Codecs
import Kernels
import OrderedCollections
import SafeIO
import TensorCore

/// Writes a model in another form, and measures what that did to its weights.
public struct ConversionStage {
  let plan: ConversionPlan
  private let export: ModelExport

  /// Prepares the stage.
  /// - Throws: ``PipelineError/refusedConversion(container:weight:reason:count:total:)``.
  public init(model: LoadedModel, plan: ConversionPlan, pool: ThreadPool) throws {
    try plan.requireWhole()
    self.plan = plan
    let weights = try model.requireCheckpoint()
    var recodings: [String: WeightRecoding] = [:]
    for entry in plan.entries { recodings[entry.name] = entry.recoding }
    let history = model.configuration[HuggingFaceExport.provenanceKey] ?? .null
    export = ModelExport(
      source: model, weights: weights, history: history,
      recodings: WeightRecodings(entries: recodings, pool: pool))
  }

  /// What will not be stored besides; empty when all will.
  /// - Throws: `TensorCoreError`.
  public func warnings() throws -> [String] {
    try [plan.request.container.companionWarning(for: export)].compactMap { $0 }
  }

  /// Writes the model to `path`, whole or not at all.
  /// - Throws: ``PipelineError``, `SafeIOError`, `CodecError` and the container's own errors.
  /// - Parameter progress: told which weight's turn it is, and the share of the work that is done, where the container
  ///   stores weights one by one.
  public func write(
    to path: String, progress: @escaping @Sendable (String, Double) throws -> Void = { _, _ in }
  ) throws {
    var export = export
    export.recodings?.progress = tracked(progress)
    try plan.request.container.write(export, to: path)
  }

  /// Adds the share of the weights' elements that come before each.
  private func tracked(
    _ progress: @escaping @Sendable (String, Double) throws -> Void
  ) -> @Sendable (String) throws -> Void {
    let total = plan.entries.reduce(0) { $0 + $1.shape.elementCount }
    var shares: [String: Double] = [:]
    var before = 0
    for entry in plan.entries {
      shares[entry.name] = Double(before) / Double(max(total, 1))
      before += entry.shape.elementCount
    }
    return { [shares] name in try progress(name, shares[name] ?? 0) }
  }
}
