import Architectures
import Codecs
import OrderedCollections
import SafeIO
import TensorCore

/// Models whose queries and keys rotate neighbouring rows, as those of llama2.c do. In a Hugging Face directory the rows of a
/// head lie in halves, and nothing can say otherwise; models from GGUF files are read that way too.
extension LoadedModel {
  /// Key of the configuration that says so, in Adze's terms.
  static let interleavedRotationKey = "rope_interleaved"

  /// Whether rows have to be moved.
  var rotatesNeighbours: Bool { configuration[Self.interleavedRotationKey]?.boolValue ?? false }

  /// Weights with the rows of queries and keys in halves; rows are moved when they are first used.
  /// - Throws: ``PipelineError/weight(_:reason:)``, `CodecError` and `TensorCoreError` where they cannot be.
  func withRotaryHalves(
    _ weights: OrderedDictionary<String, Weight>
  ) throws -> OrderedDictionary<String, Weight> {
    guard rotatesNeighbours else { return weights }
    let heads = summary.sizes.headCount
    let groups = summary.sizes.kvHeadCount
    var result = weights
    for (name, weight) in weights {
      let isQuery = name.contains(".self_attn.q_proj.")
      guard isQuery || name.contains(".self_attn.k_proj.") else { continue }
      let transform = GGUFTransform.rotaryRows(headCount: isQuery ? heads : groups)
      guard let order = transform.storedRows(count: weight.shape.dimensions.first ?? 0) else {
        throw PipelineError.weight(name, reason: "its rows are not heads of an even width")
      }
      result[name] = try weight.selecting(rows: order)
    }
    return result
  }
}
