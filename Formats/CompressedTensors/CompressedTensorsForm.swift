import Codecs
import SafeIO

/// How weights of one codec are written: the name of the form and the arguments that describe it.
struct CompressedTensorsForm {
  enum Kind { case packed, wholeBytes, eightBitFloats, nvfp4, mxfp4, mxfp8 }

  let kind: Kind
  /// The value of `format`.
  let name: String
  /// The members of `weights`.
  let weights: JSONObject
  /// What engines do to activations unless the source says otherwise.
  let activations: JSONValue

  /// The form of a codec; nil when there is none.
  /// - Parameter wholeBytes: whether 8-bit integers take a byte each instead of a quarter of a word.
  init?(_ codec: any Codec, wholeBytes: Bool) {
    switch codec {
    case let codec as IntegerGroupCodec: self.init(codec, wholeBytes: wholeBytes)
    case let codec as Float8Codec where codec.format == .e4m3: self.init(codec)
    case is NVFP4Codec:
      self.init(
        .nvfp4, "nvfp4-pack-quantized",
        Self.arguments(bits: 4, type: "float", strategy: "tensor_group", groupSize: 16), .null)
    case is MXFP4Codec:
      self.init(
        .mxfp4, "mxfp4-pack-quantized",
        Self.arguments(bits: 4, type: "float", strategy: "group", groupSize: 32), .null)
    case is MXFP8Codec:
      var weights = Self.arguments(bits: 8, type: "float", strategy: "group", groupSize: 32)
      weights["scale_dtype"] = "torch.uint8"
      self.init(.mxfp8, "mxfp8-quantized", weights, .null)
    default: return nil
    }
  }

  private init(_ kind: Kind, _ name: String, _ weights: JSONObject, _ activations: JSONValue) {
    (self.kind, self.name, self.weights, self.activations) = (kind, name, weights, activations)
  }

  private init(_ codec: IntegerGroupCodec, wholeBytes: Bool) {
    var weights = Self.arguments(
      bits: codec.bits, type: "int", strategy: codec.groupSize == nil ? "channel" : "group",
      groupSize: codec.groupSize)
    weights["symmetric"] = .bool(codec.isSymmetric)
    guard wholeBytes, codec.bits == 8 else {
      self.init(.packed, "pack-quantized", weights, .null)
      return
    }
    self.init(
      .wholeBytes, "int-quantized", weights,
      .object(Self.arguments(bits: 8, type: "int", strategy: "token", isDynamic: true)))
  }

  private init?(_ codec: Float8Codec) {
    var activations = Self.arguments(bits: 8, type: "float", strategy: "token", isDynamic: true)
    var weights: JSONObject
    switch codec.granularity {
    case .tensor: weights = Self.arguments(bits: 8, type: "float", strategy: "tensor")
    case .channel: weights = Self.arguments(bits: 8, type: "float", strategy: "channel")
    case .block(let size):
      weights = Self.arguments(bits: 8, type: "float", strategy: "block")
      weights["block_structure"] = [JSONValue(size), JSONValue(size)]
      activations = Self.arguments(
        bits: 8, type: "float", strategy: "group", groupSize: size, isDynamic: true)
    }
    self.init(.eightBitFloats, "float-quantized", weights, .object(activations))
  }

  /// What engines do to activations when the checkpoint has scales for them; null when this form has no such scales.
  var staticActivations: JSONValue {
    switch kind {
    case .eightBitFloats where weights["strategy"]?.stringValue == "tensor":
      return .object(Self.arguments(bits: 8, type: "float", strategy: "tensor"))
    case .nvfp4:
      var arguments = Self.arguments(bits: 4, type: "float", strategy: "tensor_group", groupSize: 16)
      // Scales of groups are made at run time under the stored one of the tensor.
      arguments["dynamic"] = "local"
      return .object(arguments)
    default: return .null
    }
  }

  /// Arguments as writers spell them, without members that older readers do not know.
  static func arguments(
    bits: Int, type: String, strategy: String, groupSize: Int? = nil, isDynamic: Bool = false
  ) -> JSONObject {
    [
      "num_bits": JSONValue(bits), "type": .string(type), "symmetric": true, "strategy": .string(strategy),
      "group_size": groupSize.map { JSONValue($0) } ?? nil, "dynamic": .bool(isDynamic),
      "block_structure": nil, "actorder": nil, "observer": isDynamic ? nil : "minmax",
      "observer_kwargs": .object([:]),
    ]
  }
}
