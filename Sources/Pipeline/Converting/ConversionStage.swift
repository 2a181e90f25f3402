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
    var export = ModelExport(
      source: model, weights: weights, history: history,
      recodings: WeightRecodings(entries: recodings, pool: pool))
    export.partLimit = plan.request.partLimit
    self.export = export
  }

  /// The files that ``write(to:progress:)`` writes, when the container can be written in parts.
  /// - Throws: as ``write(to:progress:)``; ``PipelineError/usage(_:hint:)`` when it cannot and a limit is asked for.
  public func files(for path: String) throws -> [PlannedFile]? {
    let container = plan.request.container
    guard let files = container.files else {
      guard plan.request.partLimit == PartLimit() else {
        throw PipelineError.usage(
          "container \(container.name) has no parts of a chosen size", hint: "that is for --container gguf")
      }
      return nil
    }
    return try files(export, path)
  }

  /// What will not be stored besides; empty when all will.
  /// - Throws: `TensorCoreError`.
  public func warnings() throws -> [String] { try plan.request.container.warnings(for: export) }

  /// Writes the model to `path`, whole or not at all.
  /// - Parameters:
  ///   - pendingSync: syncs files while other work goes on, where the container is made of files; without it they are synced before
  ///     they get their names.
  ///   - progress: told which weight's turn it is, and the share of the work that is done, where the container stores weights one
  ///     by one.
  /// - Throws: ``PipelineError``, `SafeIOError`, `CodecError` and the container's own errors.
  /// - Returns: the path by which the model is read: that of the first part, when there are several.
  @discardableResult
  public func write(
    to path: String, pendingSync: PendingSync? = nil,
    progress: @escaping @Sendable (String, Double) throws -> Void = { _, _ in }
  ) throws -> String {
    let files = try files(for: path) ?? []
    for file in files { try plan.request.container.checkOutput(file.path, source: export.source) }
    var export = export
    export.recodings?.progress = tracked(progress)
    export.pendingSync = pendingSync
    try plan.request.container.write(export, to: path)
    return files.first?.path ?? path
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
