import Codecs
import OrderedCollections
import Safetensors
import TensorCore
import TestSupport
import Testing

/// Encoders against the weighted errors that the reference quantizers reach on a trained model; see Goldens/README.md.
@Suite(.enabled(if: SharedData.isAvailable, "needs the reference models beside the project"))
struct BirchErrorTests {
  static let references =
    (try? SafetensorsFile(path: SharedData.projectRoot + "/Tests/CodecsTests/Goldens/birch.safetensors"))?
    .tensors ?? [:]

  @Test(arguments: [
    "iq4_nl", "iq4_xs", "iq3_s", "iq3_xxs", "iq2_s", "iq2_xs", "iq2_xxs",
  ])
  func errorsAreAtMostTheReferences(name: String) throws {
    let codec = try CodecRegistry.codec(named: name)
    let checkpoint = try SafetensorsCheckpoint(path: SharedData.path("models/birch"))
    for (index, layer) in [0, 3, 7].enumerated() {
      let tensor = try #require(checkpoint.tensors["model.layers.\(layer).self_attn.k_proj.weight"])
      let matrix = try FloatMatrix(
        rows: tensor.shape.rows, columns: tensor.shape.columns, values: tensor.floats())
      for kind in ["imatrix", "plain"] {
        guard let reference = try Self.doubles("birch.errors.\(name) \(kind)") else { continue }
        let importance =
          kind == "imatrix" ? try Self.references["birch.\(layer).importance"]?.floats() : nil
        let encoded = try codec.encode(matrix, importance: importance, search: .standard)
        let error = encoded.decoded().squaredError(matrix, importance: importance)
        #expect(error < 0.97 * reference[index], "\(name) \(kind) layer \(layer)")
      }
    }
  }

  private static func doubles(_ name: String) throws -> [Double]? {
    try references[name]?.floats().map(Double.init)
  }
}
