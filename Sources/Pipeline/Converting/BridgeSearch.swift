import Codecs
import TensorCore

/// Finds a codec that a container holds and that keeps the values of a matrix.
struct BridgeSearch {
  /// What was found.
  enum Result {
    /// A bridge, and how near it keeps the values.
    case found(CodecBridge, CodecBridge.Fit)
    /// Nothing, and why.
    case none(String)
  }

  let container: ModelContainer

  /// The exact way of the fewest bits, else the one that moves values least.
  func best(for matrix: EncodedMatrix) -> Result {
    let own = container.refusal(matrix.codec, matrix.rows, matrix.columns) ?? ""
    guard (matrix.codec as? any UniformGroupCodec)?.uniformGrid(columns: matrix.columns) != nil else {
      let isPermuted = (matrix.codec as? IntegerGroupCodec)?.hasGroupIndex == true
      return .none(
        refusal(
          matrix,
          isPermuted
            ? "its columns are in act-order, which needs a group index or a model whose columns are moved"
            : "no codec that it holds has the same values"))
    }
    var best: (bridge: CodecBridge, bound: Float)?
    var reason: String?
    for codec in candidates(for: matrix) {
      guard let bridge = CodecBridge(from: matrix.codec, to: codec) else { continue }
      switch bridge.fit(matrix) {
      case .exact: return .found(bridge, .exact)
      case .rounded(let bound):
        if bound < best?.bound ?? .infinity { best = (bridge, bound) }
      case .impossible(let problem): reason = reason ?? "\(codec.canonicalName) would not do: \(problem)"
      }
    }
    if let best { return .found(best.bridge, .rounded(by: best.bound)) }
    return .none(refusal(matrix, reason ?? own))
  }

  private func refusal(_ matrix: EncodedMatrix, _ reason: String) -> String {
    "\(container.name) cannot hold \(matrix.codec.canonicalName): \(reason); --dequantize stores plain numbers"
  }

  /// Uniform codecs that the container holds, those of the fewest bits first.
  private func candidates(for matrix: EncodedMatrix) -> [any Codec] {
    let grid = (matrix.codec as? any UniformGroupCodec)?.uniformGrid(columns: matrix.columns)
    let isWholeRow = (grid?.groupLength ?? 0) >= matrix.columns
    var groups = Set([128, 64, 32])
    if let grid { groups.insert(grid.groupLength) }
    var sizes: [Int?] = groups.sorted(by: >)
    if isWholeRow { sizes.append(nil) }
    var names = ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0"]
    for size in sizes {
      let group = size.map { "g\($0)" } ?? "gall"
      for bits in 2...8 {
        for type in ["", "-bf16", "-f32"] {
          for symmetry in ["sym", "asym"] { names.append("int\(bits)-\(group)-\(symmetry)\(type)") }
          if size != nil { names.append("affine\(bits)-\(group)\(type)") }
        }
      }
    }
    return
      names
      .compactMap { try? CodecRegistry.codec(canonicalName: $0) }
      .filter { container.refusal($0, matrix.rows, matrix.columns) == nil }
      .sorted { first, second in
        let bits = (
          first.bitsPerWeight(columns: matrix.columns), second.bitsPerWeight(columns: matrix.columns)
        )
        return bits.0 == bits.1 ? first.canonicalName < second.canonicalName : bits.0 < bits.1
      }
  }
}
