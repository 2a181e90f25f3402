import Codecs
import Execution
import GraphIR
import OrderedCollections
import TensorCore

extension LayoutReading {
  /// How keys and values are cached, with the static scales that lie among the companions, by layer.
  /// - Returns: the cache, nil when the checkpoint says nothing of it or lacks what it promises; and what people should know.
  /// - Throws: `TensorCoreError`.
  func cache(of graph: Graph) throws -> (CacheQuantization?, warnings: [String]) {
    guard let format = cacheFormat else { return (nil, []) }
    var result = CacheQuantization(format)
    if format.isStatic {
      var found: [String: [String: [Float]]] = [:]
      for (name, tensor) in companions {
        for place in CompanionScales.cachePlaces(name, .init(name: name, tensor: tensor)) {
          found[place.attention, default: [:]][place.letter] = try tensor.floats()
        }
      }
      for (layer, module) in graph.attentionModules {
        guard let keys = found[module]?["k"], let values = found[module]?["v"] else { continue }
        result.scales[layer] = KVScales(keys: keys, values: values)
      }
    }
    guard let problem = result.problem(heads: graph.cacheHeads) else { return (result, []) }
    return (nil, ["the KV cache counts as not quantized: \(problem)"])
  }
}

extension Graph {
  /// The module of each layer's attention, such as `model.layers.0.self_attn`, by the number of its cache: the one around the
  /// projection of its keys.
  var attentionModules: OrderedDictionary<Int, String> {
    let uses = uses
    var result: OrderedDictionary<Int, String> = [:]
    for node in nodes where node.operation == .attention {
      guard let number = try? node.integer("cache") else { continue }
      var value = node.operands[1].value
      while let current = value, let index = uses.producer(of: current) {
        let producer = nodes[index]
        if producer.operation == .linear, let weight = producer.constantOperands.first {
          result[number] = ParameterName(ParameterName(weight).module).module
          break
        }
        value = producer.operands.first?.value
      }
    }
    return result
  }
}
