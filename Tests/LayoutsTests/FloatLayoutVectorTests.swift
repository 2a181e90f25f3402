import Codecs
import FP8Format
import Glibc
import MLXFormat
import MXFP4Format
import ModelOptFormat
import OrderedCollections
import SafeIO
import Safetensors
import TensorCore
import TestSupport
import Testing

/// A layout of floating-point or MLX codes, as the tests of all of them use it.
struct FloatLayout: Sendable, CustomTestStringConvertible {
  let name: String
  let read: @Sendable (OrderedDictionary<String, Tensor>, JSONValue) throws -> LayoutReading
  let write: @Sendable (LayoutReading) throws -> OrderedDictionary<String, Tensor>
  var testDescription: String { name }

  static let all = [
    FloatLayout(
      name: "FP8", read: { try FP8Layout.reading(tensors: $0, configuration: $1) },
      write: { try Samples.tensors($0) { name, matrix in try FP8Layout.tensors(of: name, matrix) } }),
    FloatLayout(
      name: "ModelOpt", read: { try ModelOptLayout.reading(tensors: $0, configuration: $1) },
      write: { try Samples.tensors($0) { name, matrix in try ModelOptLayout.tensors(of: name, matrix) } }),
    FloatLayout(
      name: "MLX", read: { try MLXLayout.reading(tensors: $0, configuration: $1) },
      write: { try Samples.tensors($0) { name, matrix in try MLXLayout.tensors(of: name, matrix) } }),
    FloatLayout(
      name: "MXFP4", read: { try MXFP4Layout.reading(tensors: $0, configuration: $1) },
      write: { try MXFP4Layout.tensors(for: $0.weights).merging($0.companions) { $1 } }),
  ]

  /// Paths of the vectors, without endings.
  var vectors: [String] {
    let folder = SharedData.projectRoot + "/Formats/\(name)/Vectors"
    return FloatLayout.entries(folder).filter { $0.hasSuffix(".safetensors") && !$0.contains(".expected.") }
      .map { folder + "/" + $0.dropLast(".safetensors".count) }
  }

  private static func entries(_ path: String) -> [String] {
    guard let stream = unsafe opendir(path) else { return [] }
    defer { unsafe closedir(stream) }
    var names: [String] = []
    while let entry = unsafe readdir(stream) {
      names.append(
        unsafe withUnsafeBytes(of: entry.pointee.d_name) { bytes in
          unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        })
    }
    return names.sorted()
  }

  func configuration(of vector: String) throws -> JSONValue {
    for part in ["quantization_config", "hf_quant_config", "quantization"] {
      let path = "\(vector).\(part).json"
      if FileReading.exists(path) { return try JSONValue.parse(contentsOf: path) }
    }
    return .null
  }

  func reading(_ vector: String) throws -> (OrderedDictionary<String, Tensor>, LayoutReading) {
    let tensors = try SafetensorsFile(path: vector + ".safetensors").tensors
    return (tensors, try read(tensors, try configuration(of: vector)))
  }
}

@Suite struct FloatLayoutVectorTests {
  /// Values are those that the writer of the file computed, to the last bit.
  @Test(arguments: FloatLayout.all)
  func vectorsDecodeToWhatTheirWriterExpects(layout: FloatLayout) throws {
    let vectors = layout.vectors.filter { !$0.contains("hostile-") }
    #expect(!vectors.isEmpty)
    for vector in vectors {
      let (_, reading) = try layout.reading(vector)
      let expected = try SafetensorsFile(path: vector + ".expected.safetensors").tensors
      #expect(!expected.isEmpty)
      for (name, tensor) in expected {
        let weight = try #require(reading.weights[name], "\(vector) \(name)")
        #expect(weight.shape == tensor.shape)
        let values: [Float]
        switch weight {
        case .dense(let tensor): values = try tensor.floats()
        case .encoded(let matrix): values = matrix.decoded().values
        }
        #expect(try values == tensor.floats(), "\(vector) \(name)")
      }
    }
  }

  /// Reading and writing again gives the same tensors, where nothing had to be changed.
  @Test(arguments: FloatLayout.all)
  func writingIsTheInverseOfReading(layout: FloatLayout) throws {
    let others = ["mistral", "ue8m0", "int4-awq", "modes"]
    var count = 0
    for vector in layout.vectors where !vector.contains("hostile-") {
      if others.contains(where: vector.contains) { continue }
      let (tensors, reading) = try layout.reading(vector)
      #expect(Samples.differences(try layout.write(reading), tensors) == [], "\(vector)")
      count += 1
    }
    #expect(count > 0 || layout.name == "MLX")
  }

  @Test(arguments: FloatLayout.all)
  func hostileVectorsAreRefused(layout: FloatLayout) throws {
    let vectors = layout.vectors.filter { $0.contains("hostile-") }
    #expect(vectors.count > 5)
    for vector in vectors {
      let error = #expect(throws: (any Error).self, "\(vector)") { try layout.reading(vector) }
      let diagnostic = (error as? any DiagnosableError)?.diagnostic
      #expect(diagnostic?.code.hasPrefix(layout.name.lowercased()) ?? false, "\(vector)")
    }
  }

  /// Every tensor in turn is missing, of another type, or of another shape: an error or a reading, never a trap.
  @Test(arguments: FloatLayout.all)
  func damagedCheckpointsDoNotTrap(layout: FloatLayout) throws {
    for vector in layout.vectors {
      guard let (tensors, _) = try? layout.reading(vector) else { continue }
      let configurations = try ["{}", "[]", "3", #"{"quantization": 3, "quant_algo": 4, "bits": -1}"#].map {
        try Samples.json($0)
      }
      for configuration in configurations { _ = try? layout.read(tensors, configuration) }
      let good = try layout.configuration(of: vector)
      for (name, tensor) in tensors {
        var damaged = tensors
        damaged[name] = nil
        _ = try? layout.read(damaged, good)
        for type in ElementType.allCases where tensor.byteCount * 8 % type.bitWidth == 0 {
          for shape in [
            [tensor.byteCount * 8 / type.bitWidth], [1, tensor.byteCount * 8 / type.bitWidth, 1],
          ] {
            damaged[name] = try Tensor(
              elementType: type, shape: Shape(shape), region: tensor.region, byteOffset: tensor.byteOffset)
            _ = try? layout.read(damaged, good)
          }
        }
        damaged[name] = try Tensor(bytes: [], elementType: tensor.elementType, shape: [0, 5])
        _ = try? layout.read(damaged, good)
      }
    }
  }
}
