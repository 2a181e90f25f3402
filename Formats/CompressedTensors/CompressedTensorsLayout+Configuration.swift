import Codecs
import OrderedCollections
import SafeIO
import TensorCore

extension CompressedTensorsLayout {
  /// The object `quantization_config` for `config.json`.
  ///
  /// One codec for all weights targets the class `Linear`; several codecs target their modules by name, the most
  /// common one first, each with a form of its own when they differ (`mixed-precision`).
  /// - Parameters:
  ///   - ignored: modules of the class `Linear` that are not quantized; `lm_head` is added when it is not quantized.
  ///   - style: choices that the codecs leave open.
  ///   - activations: how the inputs of weights are quantized, by their names.
  ///   - cache: how keys and values are cached; nil when nothing is said of it.
  ///   - companions: names of further tensors; scales of the KV cache among them make a `kv_cache_scheme`.
  /// - Throws: ``CompressedTensorsError/unrepresentable(weight:encoding:reason:)``.
  public static func quantizationConfiguration(
    for weights: OrderedDictionary<String, Weight>, ignored: [String],
    style: CompressedTensorsStyle = CompressedTensorsStyle(),
    activations: OrderedDictionary<String, InputQuantization> = [:], cache: KVFormat? = nil,
    companions: [String] = []
  ) throws(CompressedTensorsError) -> JSONValue {
    var modules: OrderedDictionary<JSONText, [String]> = [:]
    var forms: [JSONText: (form: CompressedTensorsForm, inputs: JSONValue)] = [:]
    var quantized: Set<String> = []
    for (name, weight) in weights {
      guard case .encoded(let matrix) = weight else { continue }
      let scheme = activations[name]?.scheme
      let form = try form(name, matrix, style, scheme)
      let module = ParameterName(name).module
      let inputs = inputArguments(form, module, scheme, style, companions)
      let key = JSONText(["weights": .object(form.weights), "inputs": inputs, "form": .string(form.name)])
      modules[key, default: []].append(module)
      forms[key] = (form, inputs)
      quantized.insert(module)
    }
    let keys = modules.keys.enumerated().sorted { first, second in
      let counts = (modules[first.element]?.count ?? 0, modules[second.element]?.count ?? 0)
      return counts.0 == counts.1 ? first.offset < second.offset : counts.0 > counts.1
    }
    var groups = JSONObject()
    for (index, key) in keys.enumerated() {
      guard let (form, inputs) = forms[key.element], let names = modules[key.element] else { continue }
      groups["group_\(index)"] = group(form, targets: keys.count == 1 ? ["Linear"] : names, inputs)
    }
    var unquantized = OrderedSet(ignored.filter { !quantized.contains($0) })
    if !quantized.contains("lm_head") { unquantized.append("lm_head") }
    let names = Set(forms.values.map(\.form.name))
    return [
      "quant_method": "compressed-tensors",
      "format": .string(
        names.count == 1 ? names.first ?? "dense" : names.isEmpty ? "dense" : "mixed-precision"),
      "quantization_status": "compressed",
      "config_groups": .object(groups),
      "ignore": .array(unquantized.sorted().map { .string($0) }),
      "global_compression_ratio": nil,
      "kv_cache_scheme": cacheScheme(cache, style, companions),
    ]
  }

  private static func group(
    _ form: CompressedTensorsForm, targets: [String], _ inputs: JSONValue
  ) -> JSONValue {
    [
      "targets": .array(targets.map { .string($0) }),
      "weights": .object(form.weights),
      "input_activations": inputs,
      "output_activations": nil,
      "format": .string(form.name),
    ]
  }

  /// What engines are asked to do to the inputs of a module: the scheme, in the source's own words where it has some, and what the
  /// source asked for and Adze does not execute.
  private static func inputArguments(
    _ form: CompressedTensorsForm, _ module: String, _ scheme: ActivationScheme?,
    _ style: CompressedTensorsStyle, _ companions: [String]
  ) -> JSONValue {
    let source = style.activations(like: form)
    if let source, !source.isNull, ActivationArguments.scheme(source) == scheme { return source }
    if scheme == nil, companions.contains(module + ".input_global_scale") { return form.staticActivations }
    return ActivationArguments.arguments(scheme)
  }

  /// Whether engines will be asked to scale the inputs of weights of a codec, by another scheme than Adze executes, with scales of
  /// the checkpoint; nil when that depends on whether it has them.
  public static func hasStaticInputs(_ codec: any Codec, style: CompressedTensorsStyle) -> Bool? {
    guard let form = CompressedTensorsForm(codec) else { return false }
    if let activations = style.activations(like: form), ActivationArguments.scheme(activations) == nil {
      return !activations.isNull && activations["dynamic"]?.boolValue != true
    }
    return form.staticActivations.isNull ? false : nil
  }

  /// How the cache is stored, in the source's own words where these mean the same; else FP8 with a scale a tensor, which is what
  /// scales of the cache are for.
  private static func cacheScheme(
    _ cache: KVFormat?, _ style: CompressedTensorsStyle, _ companions: [String]
  ) -> JSONValue {
    if let source = style.cacheScheme, cache == nil || CacheArguments.format(source) == cache {
      return source
    }
    if let cache { return refusal(cache) == nil ? CacheArguments.arguments(cache) : .null }
    let hasScales = companions.contains { $0.hasSuffix(".k_scale") || $0.hasSuffix(".k_proj.output_scale") }
    guard hasScales else { return .null }
    return .object(CompressedTensorsForm.arguments(bits: 8, type: "float", strategy: "tensor"))
  }
}

/// A JSON value as a key.
private struct JSONText: Hashable {
  let text: String
  init(_ value: JSONValue) { text = value.serialized() }
}

/// Choices that codecs leave open when weights are written in the compressed-tensors layout.
public struct CompressedTensorsStyle: Sendable {
  /// Whether 8-bit integers take a byte each (`int-quantized`) even where inputs are not quantized; otherwise integers do where
  /// they are.
  public var wholeBytes: Bool
  /// The source's own `kv_cache_scheme`.
  var cacheScheme: JSONValue?
  private var groups: [CompressedTensorsConfiguration.Group] = []

  /// Chooses by hand.
  public init(wholeBytes: Bool = false) { self.wholeBytes = wholeBytes }

  /// Chooses as the source did.
  /// - Parameter source: its `quantization_config`, which need not be of this layout.
  public init(source: JSONValue?) {
    self.init()
    guard let source, let configuration = try? CompressedTensorsConfiguration(source) else { return }
    groups = configuration.groups
    wholeBytes = groups.contains { $0.format == "int-quantized" || $0.format == "naive-quantized" }
    if let scheme = source["kv_cache_scheme"], !scheme.isNull { cacheScheme = scheme }
  }

  /// What the source asked engines to do to the inputs of weights of this form.
  func activations(like form: CompressedTensorsForm) -> JSONValue? {
    guard let wanted = try? QuantizationArguments(.object(form.weights), key: "") else { return nil }
    return groups.first { $0.arguments == wanted }.map { $0.value["input_activations"] ?? .null }
  }
}
