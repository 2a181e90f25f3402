import Codecs
import GraphIR
import Kernels
import OrderedCollections

extension PackStage {
  /// A warning for weights whose codes no kernel reads: panels hold their values as plain numbers, and the file grows. Nil
  /// when there are none, or when the file holds codes as they are.
  public func wideningWarning() -> String? {
    guard options.layout == .panel16 else { return nil }
    var counts: OrderedDictionary<String, Int> = [:]
    var byteCount = 0
    for name in Set(source.graph.linearNodes.flatMap(\.weights)).sorted() {
      guard case .encoded(let matrix) = weights[name], !PanelMatrix.keepsCodes(matrix) else { continue }
      counts[matrix.codec.canonicalName, default: 0] += 1
      byteCount += 2 * matrix.rows * matrix.columns - matrix.byteCount
    }
    guard !counts.isEmpty else { return nil }
    let codecs = counts.map { "\($0.key) (\($0.value))" }.joined(separator: ", ")
    return "kernels do not read the codes of \(codecs): the packed file holds plain numbers, about "
      + "\(byteCount >> 20) MiB more; adze pack --isa portable packs codes, which are unpacked at each start"
  }
}
