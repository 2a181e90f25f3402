import Codecs
import CompressedTensors
import ModelOptFormat
import OrderedCollections
import SafeIO
import TensorCore
import TestSupport
import Testing

/// How layouts say that keys and values are cached: what is written is read back as the same format.
@Suite struct CacheLayoutTests {
  private static let tensors: OrderedDictionary<String, Tensor> = [:]

  @Test(arguments: [
    KVFormat(keys: .int8), KVFormat(keys: .fp8), KVFormat(keys: .int8, keyScales: .tensor),
    KVFormat(keys: .fp8, keyScales: .tensor),
  ]) func compressedTensorsGivesBackWhatItTook(format: KVFormat) throws {
    #expect(CompressedTensorsLayout.refusal(format) == nil)
    let configuration = try CompressedTensorsLayout.quantizationConfiguration(
      for: [:], ignored: [], cache: format)
    let scheme = configuration["kv_cache_scheme"]
    #expect(scheme?["num_bits"] == 8 && scheme?["dynamic"]?.boolValue == !format.isStatic)
    let reading = try CompressedTensorsLayout.reading(tensors: Self.tensors, configuration: configuration)
    #expect(reading.cacheFormat == format && reading.warnings.isEmpty)
  }

  @Test func whatLayoutsCannotSayIsRefused() {
    for format in [
      KVFormat.f16, KVFormat(keys: .int4), KVFormat(keys: .int8, values: .fp8),
      KVFormat(keys: .int8, rotation: .keys), KVFormat(keys: .int8, keyScales: .channel),
      KVFormat(keys: .int8, recent: 5),
    ] {
      #expect(CompressedTensorsLayout.refusal(format) != nil, "\(format)")
      #expect(ModelOptLayout.refusal(format) != nil, "\(format)")
    }
    #expect(ModelOptLayout.refusal(KVFormat(keys: .int8)) != nil)
    #expect(ModelOptLayout.refusal(KVFormat(keys: .fp8, keyScales: .tensor)) == nil)
  }

  /// The scheme as the tool writes it, and schemes that are not executed.
  @Test(arguments: [
    (#"{"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": false, "symmetric": true}"#, true),
    (#"{"num_bits": 8, "type": "float"}"#, true),
    (#"{"num_bits": 8, "type": "int", "strategy": "attn_head", "dynamic": false}"#, true),
    (#"{"num_bits": 4, "type": "int", "strategy": "tensor"}"#, false),
    (#"{"num_bits": 8, "type": "int", "symmetric": false}"#, false),
    (#"{"num_bits": 8, "type": "float", "strategy": "tensor_group", "dynamic": "local"}"#, false),
    (#"{"num_bits": 8, "type": "complex"}"#, false),
    (#"{"num_bits": "many"}"#, true),
  ]) func schemesOfOthers(text: String, isRead: Bool) throws {
    let configuration: JSONValue = [
      "quant_method": "compressed-tensors", "format": "dense", "config_groups": [:], "ignore": [],
      "kv_cache_scheme": try JSONValue.parse(Array(text.utf8), file: "scheme"),
    ]
    let reading = try CompressedTensorsLayout.reading(tensors: Self.tensors, configuration: configuration)
    #expect((reading.cacheFormat?.isStatic == true) == isRead)
    #expect(reading.warnings.contains { $0.contains("KV cache") } == !isRead)
    // The source's own words are kept, whether they are executed or not.
    let again = try CompressedTensorsLayout.quantizationConfiguration(
      for: [:], ignored: [], style: CompressedTensorsStyle(source: configuration), cache: reading.cacheFormat)
    #expect(again["kv_cache_scheme"] == configuration["kv_cache_scheme"])
    let other = try CompressedTensorsLayout.quantizationConfiguration(
      for: [:], ignored: [], style: CompressedTensorsStyle(source: configuration),
      cache: KVFormat(keys: .int8))
    #expect(other["kv_cache_scheme"]?["dynamic"] == true)
  }

  @Test(arguments: [
    ("FP8", KVFormat(keys: .fp8, keyScales: .tensor)), ("INT8", KVFormat(keys: .int8, keyScales: .tensor)),
    ("NVFP4", nil), (nil, nil),
  ]) func modelOptNamesAlgorithms(name: String?, format: KVFormat?) throws {
    let algorithm = name.map { JSONValue.string($0) } ?? .null
    let file: JSONValue = ["quantization": ["quant_algo": "FP8", "kv_cache_quant_algo": algorithm]]
    let reading = try ModelOptLayout.reading(tensors: Self.tensors, configuration: file)
    #expect(reading.cacheFormat == format)
    #expect(reading.warnings.isEmpty == (format != nil || name == nil))
    let member: JSONValue = [
      "quant_method": "modelopt", "quant_algo": "FP8",
      "kv_cache_scheme": name == nil ? .null : ["dynamic": false, "num_bits": 8, "type": "float"],
    ]
    let other = try ModelOptLayout.reading(tensors: Self.tensors, configuration: member)
    #expect(other.cacheFormat == (name == nil ? nil : KVFormat(keys: .fp8, keyScales: .tensor)))
  }
}
