import Codecs
import GraphIR
import OrderedCollections
import TensorCore

/// What the linear layers inside the blocks of a model take: embedding and head are not counted, as is usual when
/// quantized models are compared.
struct LinearStorage {
  let byteCount: Int
  let weightCount: Int

  init(graph: Graph, weights: OrderedDictionary<String, Weight>) {
    var names: OrderedSet<String> = []
    for block in graph.blocks {
      for node in graph.nodes[block.nodes] where node.operation == .linear {
        names.append(contentsOf: node.operands[1].constants)
      }
    }
    let counted = names.compactMap { weights[$0] }
    byteCount = counted.reduce(0) { $0 + $1.byteCount }
    weightCount = counted.reduce(0) { $0 + $1.shape.elementCount }
  }

  var bitsPerWeight: Double { Double(byteCount) * 8 / Double(max(weightCount, 1)) }
}
