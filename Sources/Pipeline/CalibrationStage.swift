import Calibration
import Codecs
import GraphIR
import Kernels
import OrderedCollections
import SafeIO

/// Lets the unquantized model read a corpus and keeps what its linear layers see.
public struct CalibrationStage {
  let model: LoadedModel
  let pool: ThreadPool
  let kernels: KernelTable

  /// Prepares the stage.
  public init(model: LoadedModel, pool: ThreadPool, kernels: KernelTable = .best) {
    self.model = model
    self.pool = pool
    self.kernels = kernels
  }

  /// Runs the stage over every linear layer inside the blocks.
  /// - Parameters:
  ///   - corpus: digest of the draw that the windows are a part of; of the windows themselves unless given.
  ///   - minimumExpertTokens: tokens that every expert should see; those that the router sends fewer borrow some.
  /// - Throws: ``PipelineError``, `CalibrationError` and what lies below.
  public func run(
    windows: CalibrationWindows, of corpus: String? = nil, withSecondMoments: Bool,
    minimumExpertTokens: Int = 0,
    progress: @escaping (QuantizationStage.Progress) throws -> Void = { _ in }
  ) throws -> StatisticsFile {
    let weights = try model.requireCheckpoint()
    let blocks = model.graph.blocks.map(\.nodes)
    let inBlocks = model.graph.linearNodes.filter { node in blocks.contains { $0.contains(node.index) } }
      .flatMap(\.weights)
    let segment = windows.segment(of: corpus ?? windows.digest)
    var file: StatisticsFile?
    let digest = try model.weightsDigest()
    let sequential = SequentialCalibration(
      graph: model.graph, windows: windows, targets: Set(inBlocks),
      collection: withSecondMoments ? .secondMoments : .moments, minimumExpertTokens: minimumExpertTokens,
      bySegmentsOf: segment, pool: pool, kernels: kernels)
    try sequential.run(
      weight: { name in
        guard let weight = weights[name] else {
          throw PipelineError.weight(name, reason: "is not in the checkpoint")
        }
        return weight
      },
      progress: { try progress(QuantizationStage.Progress(step: "", what: $0.scope, fraction: $0.fraction)) },
      quantize: { group, observed in
        if file == nil {
          file = StatisticsFile(
            modelDigest: digest, segments: observed.segments.map(\.segment), tokenCount: windows.tokenCount)
        }
        file?.add(observed.segments.map(\.statistics), weights: group.weights)
        return [:]
      })
    let missed = Set(inBlocks).subtracting(file?.groupOfWeight.keys ?? [])
    guard missed.isEmpty, let file else { throw CalibrationError.neverReached(missed.sorted()) }
    return file
  }
}

extension LoadedModel {
  /// SHA-256 over the digests of the weight files, in their order.
  /// - Throws: `SafeIOError`.
  public func weightsDigest() throws -> String {
    var checksum = Checksum()
    for file in files { checksum.update(Checksum.sha256(try MappedFile.open(file)).bytes) }
    return checksum.finish().hexadecimal
  }
}
