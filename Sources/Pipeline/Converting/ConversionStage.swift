import Codecs
import Kernels
import OrderedCollections
import SafeIO
import TensorCore

/// Writes a model in another form, and measures what that did to its weights.
public struct ConversionStage {
  let model: LoadedModel
  let plan: ConversionPlan
  let pool: ThreadPool

  /// Prepares the stage.
  /// - Throws: ``PipelineError/refusedConversion(container:weight:reason:count:total:)``.
  public init(model: LoadedModel, plan: ConversionPlan, pool: ThreadPool) throws {
    try plan.requireWhole()
    self.model = model
    self.plan = plan
    self.pool = pool
  }

  /// Writes the model to `path`, whole or not at all.
  /// - Throws: ``PipelineError``, `SafeIOError`, `CodecError` and the container's own errors.
  public func write(to path: String, progress: @escaping (String, Double) throws -> Void = { _, _ in }) throws
  {
    let weights = try model.requireCheckpoint()
    var recodings: [String: WeightRecoding] = [:]
    for entry in plan.entries { recodings[entry.name] = entry.recoding }
    let history = model.configuration[HuggingFaceExport.provenanceKey] ?? .null
    let export = ModelExport(
      source: model, weights: weights, history: history,
      recodings: WeightRecodings(entries: recodings, pool: pool))
    try plan.request.container.write(export, to: path)
  }
}
