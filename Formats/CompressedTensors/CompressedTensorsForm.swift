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

  /// The form of a codec; nil when there is none.
  /// - Parameter wholeBytes: whether integers take a byte each instead of their bits of a word.
  init?(_ codec: any Codec, wholeBytes: Bool = false) {
    switch codec {
    case let codec as IntegerGroupCodec: self.init(codec, wholeBytes: wholeBytes)
    case let codec as Float8Codec where codec.format == .e4m3: self.init(codec)
    case is NVFP4Codec:
      self.init(
        .nvfp4, "nvfp4-pack-quantized",
        Self.arguments(bits: 4, type: "float", strategy: "tensor_group", groupSize: 16))
    case is MXFP4Codec:
      self.init(
        .mxfp4, "mxfp4-pack-quantized",
        Self.arguments(bits: 4, type: "float", strategy: "group", groupSize: 32))
    case is MXFP8Codec:
      var weights = Self.arguments(bits: 8, type: "float", strategy: "group", groupSize: 32)
      weights["scale_dtype"] = "torch.uint8"
      self.init(.mxfp8, "mxfp8-quantized", weights)
    default: return nil
    }
  }

  private init(_ kind: Kind, _ name: String, _ weights: JSONObject) {
    (self.kind, self.name, self.weights) = (kind, name, weights)
  }

  private init(_ codec: IntegerGroupCodec, wholeBytes: Bool) {
    var weights = Self.arguments(
      bits: codec.bits, type: "int", strategy: codec.groupSize == nil ? "channel" : "group",
      groupSize: codec.groupSize)
    weights["symmetric"] = .bool(codec.isSymmetric)
    if wholeBytes {
      self.init(.wholeBytes, "int-quantized", weights)
    } else {
      self.init(.packed, "pack-quantized", weights)
    }
  }

  private init?(_ codec: Float8Codec) {
    var weights: JSONObject
    switch codec.granularity {
    case .tensor: weights = Self.arguments(bits: 8, type: "float", strategy: "tensor")
    case .channel: weights = Self.arguments(bits: 8, type: "float", strategy: "channel")
    case .block(let size):
      weights = Self.arguments(bits: 8, type: "float", strategy: "block")
      weights["block_structure"] = [JSONValue(size), JSONValue(size)]
    }
    self.init(.eightBitFloats, "float-quantized", weights)
  }

  /// What engines do to activations when an NVFP4 checkpoint has scales for them: those of groups are made at run time under the
  /// stored one of the tensor. Null for other forms.
  var staticActivations: JSONValue {
    guard kind == .nvfp4 else { return .null }
    var arguments = Self.arguments(bits: 4, type: "float", strategy: "tensor_group", groupSize: 16)
    arguments["dynamic"] = "local"
    return .object(arguments)
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
