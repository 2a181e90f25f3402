import OrderedCollections
import TensorCore

/// What a layout of quantized checkpoints found among the tensors of a model.
public struct LayoutReading: Sendable {
  /// The weights and all other parameters, under the names that the model knows.
  public var weights: OrderedDictionary<String, Weight>
  /// Tensors that belong to no weight but must not be lost, such as scales of activations and of the KV cache.
  public var companions: OrderedDictionary<String, Tensor>
  /// How the inputs of weights are quantized, as far as the checkpoint says so in a way that is executed.
  public var activations: OrderedDictionary<String, InputQuantization> = [:]
  /// How keys and values are cached, as far as the checkpoint says so in a way that is executed; static scales are companions.
  public var cacheFormat: KVFormat?
  /// What people should know.
  public var warnings: [String]

  /// Creates a reading.
  public init(
    weights: OrderedDictionary<String, Weight> = [:], companions: OrderedDictionary<String, Tensor> = [:],
    warnings: [String] = []
  ) {
    self.weights = weights
    self.companions = companions
    self.warnings = warnings
  }
}
