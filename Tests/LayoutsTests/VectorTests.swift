import AWQFormat
import Codecs
import CompressedTensors
import GPTQFormat
import OrderedCollections
import SafeIO
import Safetensors
import TensorCore
import TestSupport
import Testing

/// Vectors of layouts: `NAME.safetensors` with `NAME.json`, the configuration. Tensors `expected.<module>` are the values
/// that the weight of a module has; those below `hostile` must be refused.
@Suite("Vectors of layouts") struct LayoutVectorTests {
  typealias Reading = @Sendable (OrderedDictionary<String, Tensor>, JSONValue) throws -> LayoutReading

  /// Every layout that has such vectors, by the name of its folder.
  static let layouts: [String: Reading] = [
    "GPTQ": { try GPTQLayout.reading(tensors: $0, configuration: $1) },
    "AWQ": { try AWQLayout.reading(tensors: $0, configuration: $1) },
    "CompressedTensors": { try CompressedTensorsLayout.reading(tensors: $0, configuration: $1) },
  ]

  private static func vectors(_ folder: String) -> [String] {
    layouts.keys.sorted().flatMap { format in
      let path = SharedData.projectRoot + "/Formats/\(format)/Vectors" + folder
      let names = (try? FileReading.list(path)) ?? []
      return names.filter { $0.hasSuffix(".json") }.map { "\(format)\(folder)/\($0.dropLast(5))" }
    }
  }

  private func open(_ vector: String) throws -> (OrderedDictionary<String, Tensor>, JSONValue, Reading) {
    let parts = vector.split(separator: "/").map(String.init)
    let path = ([SharedData.projectRoot, "Formats", parts[0], "Vectors"] + parts.dropFirst()).joined(
      separator: "/")
    return (
      try SafetensorsFile(path: path + ".safetensors").tensors,
      try JSONValue.parse(contentsOf: path + ".json"), try #require(Self.layouts[parts[0]])
    )
  }

  @Test("have the values that they say", arguments: vectors("")) func values(vector: String) throws {
    let (tensors, configuration, reading) = try open(vector)
    let expected = tensors.filter { $0.key.hasPrefix("expected.") }
    let weights = try reading(tensors.filter { !$0.key.hasPrefix("expected.") }, configuration).weights
    #expect(!expected.isEmpty)
    for (name, values) in expected {
      let weight = try #require(weights[name.dropFirst("expected.".count) + ".weight"])
      #expect(weight.shape == values.shape, "\(name)")
      guard case .encoded = weight else {
        Issue.record("\(name) is not quantized")
        continue
      }
      let pairs = zip(try weight.decoded().values, try values.floats())
      if vector.hasSuffix("nvfp4") {
        // The tool that made this vector decompresses to bfloat16.
        #expect(pairs.allSatisfy { SmallFloat.bfloat16($0) == SmallFloat.bfloat16($1) }, "\(name)")
        #expect(try values.floats().contains { $0 != 0 })
      } else {
        #expect(pairs.allSatisfy { abs($0 - $1) <= abs($1) * 4e-7 }, "\(vector) \(name)")
      }
    }
  }

  @Test("are refused when hostile", arguments: vectors("/hostile")) func hostile(vector: String) throws {
    let (tensors, configuration, reading) = try open(vector)
    do {
      _ = try reading(tensors, configuration)
      Issue.record("accepted")
    } catch {
      #expect((error as? any DiagnosableError)?.diagnostic.status == .badInput, "\(error)")
    }
  }

  /// Every tensor in turn is missing, of another type or of another shape, and every byte of the configuration is another
  /// one: an error that says so, or weights that can be decoded; never a trap.
  @Test("never trap when damaged", arguments: vectors("")) func damage(vector: String) throws {
    let (tensors, configuration, reading) = try open(vector)
    var refusals = 0
    func attempt(_ tensors: OrderedDictionary<String, Tensor>, _ configuration: JSONValue) {
      do {
        for case .encoded(let matrix) in try reading(tensors, configuration).weights.values {
          _ = matrix.decoded()
        }
      } catch {
        refusals += 1
        #expect((error as? any DiagnosableError)?.diagnostic.status == .badInput, "\(error)")
      }
    }
    for (name, tensor) in tensors where !name.hasPrefix("expected.") {
      var damaged = tensors
      damaged[name] = nil
      attempt(damaged, configuration)
      for type in ElementType.allCases where tensor.byteCount * 8 % type.bitWidth == 0 {
        let count = tensor.byteCount * 8 / type.bitWidth
        for shape in [tensor.shape, try Shape([count]), try Shape([1, count]), try Shape([count, 1])]
        where shape.elementCount == count {
          damaged[name] = try Tensor(
            elementType: type, shape: shape, region: tensor.region, byteOffset: tensor.byteOffset)
          attempt(damaged, configuration)
        }
      }
    }
    let text = Array(configuration.serialized().utf8)
    for index in text.indices {
      for bit in [UInt8(1), 8] {
        var damaged = text
        damaged[index] ^= bit
        if let value = try? JSONValue.parse(damaged) { attempt(tensors, value) }
      }
    }
    #expect(refusals > tensors.count, "\(vector)")
  }

  @Test("are there for every layout") func presence() {
    for format in Self.layouts.keys {
      #expect(Self.vectors("").contains { $0.hasPrefix(format + "/") }, "\(format)")
      #expect(Self.vectors("/hostile").contains { $0.hasPrefix(format + "/") }, "\(format)")
    }
  }
}
