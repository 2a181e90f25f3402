import Architectures
import Codecs
import OrderedCollections
import SafeIO
import TensorCore
import TestSupport
import Testing

/// Tensors of experts that a checkpoint stacks.
@Suite struct ExpertStackTests {
  private static let configuration: JSONValue = ["model_type": "gpt_oss"]
  private static let prefix = "model.layers.1.mlp.experts."

  private func checkpoint(_ experts: Int, _ hidden: Int, _ inner: Int) throws -> OrderedDictionary<
    String, Weight
  > {
    var generator = SeededGenerator(seed: UInt64(experts * 100 + hidden * 10 + inner))
    var weights: OrderedDictionary<String, Weight> = [:]
    for (name, dimensions) in [
      ("gate_up_proj", [experts, hidden, 2 * inner]), ("gate_up_proj_bias", [experts, 2 * inner]),
      ("down_proj", [experts, inner, hidden]), ("down_proj_bias", [experts, hidden]),
    ] {
      let shape = try Shape(dimensions)
      weights[Self.prefix + name] = .dense(
        try Tensor(generator.normals(shape.elementCount), shape: shape))
    }
    return weights
  }

  private func floats(_ weight: Weight?) throws -> [Float] {
    guard case .dense(let tensor) = weight else { return [] }
    return try tensor.floats()
  }

  @Test(arguments: [(1, 1, 1), (3, 4, 5), (2, 7, 1), (11, 3, 2)])
  func partsAreThoseOfTheStackAndComeBack(experts: Int, hidden: Int, inner: Int) throws {
    let stored = try checkpoint(experts, hidden, inner)
    let parts = try ModelFamily.separated(stored, of: Self.configuration)
    #expect(parts.count == 6 * experts)
    let (gateUp, down) = (
      try floats(stored[Self.prefix + "gate_up_proj"]), try floats(stored[Self.prefix + "down_proj"])
    )
    let biases = try floats(stored[Self.prefix + "gate_up_proj_bias"])
    for expert in 0..<experts {
      let name = Self.prefix + "\(expert)."
      for (place, part) in ["gate_proj", "up_proj"].enumerated() {
        let matrix = try floats(parts[name + part + ".weight"])
        let bias = try floats(parts[name + part + ".bias"])
        for row in 0..<inner {
          #expect(bias[row] == biases[expert * 2 * inner + 2 * row + place])
          for column in 0..<hidden {
            #expect(
              matrix[row * hidden + column]
                == gateUp[(expert * hidden + column) * 2 * inner + 2 * row + place])
          }
        }
      }
      let matrix = try floats(parts[name + "down_proj.weight"])
      for row in 0..<hidden {
        for column in 0..<inner {
          #expect(matrix[row * inner + column] == down[(expert * inner + column) * hidden + row])
        }
      }
    }
    let again = try ModelFamily.stacked(parts, of: Self.configuration)
    #expect(Set(again.keys) == Set(stored.keys))
    for (name, weight) in stored {
      #expect(again[name]?.shape == weight.shape, "\(name)")
      #expect(try floats(again[name]) == floats(weight), "\(name)")
    }
    // Other families keep their names.
    #expect(try ModelFamily.separated(stored, of: ["model_type": "llama"]).keys == stored.keys)
  }

  /// Encoded gates and what they open become one matrix with their rows in turn, which comes back when it is read.
  @Test func encodedPartsComeBack() throws {
    let codec = try CodecRegistry.codec(canonicalName: "int8-g4-sym")
    var generator = SeededGenerator(seed: 9)
    var parts: OrderedDictionary<String, Weight> = [:]
    for expert in 0..<3 {
      for part in ["gate_proj", "up_proj", "down_proj"] {
        let values = try Tensor(generator.normals(5 * 8), shape: Shape([5, 8]))
        let encoded = try codec.encode(Weight.dense(values).decoded(), importance: nil, search: .extremes)
        parts[Self.prefix + "\(expert).\(part).weight"] = .encoded(encoded)
      }
    }
    let stored = try ModelFamily.stacked(parts, of: Self.configuration)
    #expect(stored.count == 6)
    #expect(stored[Self.prefix + "2.gate_up_proj.weight"]?.shape.dimensions == [10, 8])
    let again = try ModelFamily.separated(stored, of: Self.configuration)
    #expect(Set(again.keys) == Set(parts.keys))
    for (name, weight) in parts { #expect(try again[name]?.decoded() == weight.decoded(), "\(name)") }
    // A gate that is encoded otherwise than what it opens stays by itself.
    let plain = try Tensor([Float](repeating: 1, count: 40), shape: Shape([5, 8]))
    parts[Self.prefix + "1.up_proj.weight"] = .dense(plain)
    #expect(try Set(ModelFamily.stacked(parts, of: Self.configuration).keys) == Set(parts.keys))
  }

  @Test func stacksOfOtherShapesAreRefused() throws {
    for (name, dimensions) in [
      ("gate_up_proj", [2, 4]), ("gate_up_proj", [2, 4, 5]), ("gate_up_proj", [0, 4, 6]),
      ("gate_up_proj", [1 << 40, 0, 6]), ("gate_up_proj_bias", [2, 3]), ("gate_up_proj_bias", [2]),
      ("down_proj", [2]), ("down_proj", [5000, 1, 1]), ("down_proj_bias", [2, 2, 2]),
      ("0.gate_up_proj.weight", [3, 4]),
    ] {
      let shape = try Shape(dimensions)
      let tensor = try Tensor([Float](repeating: 0, count: shape.elementCount), shape: shape)
      #expect(throws: ArchitectureError.self, "\(name) \(dimensions)") {
        try ModelFamily.separated([Self.prefix + name: .dense(tensor)], of: Self.configuration)
      }
    }
  }
}
