import Codecs
import SafeIO
import TensorCore

/// What a conversion is asked for.
public struct ConversionRequest: Sendable {
  /// Where the bits go.
  public var container: ModelContainer
  /// Type of plain matrices; nil: as they are.
  public var elementType: ElementType?
  /// Codec that plain matrices are rounded to; nil: they stay plain.
  public var codec: (any Codec)?
  /// How scales are chosen when matrices are rounded.
  public var search: ScaleSearch
  /// Regular expressions on names of weights to round, instead of all linear layers in blocks.
  public var targets: [String]
  /// Regular expressions on names of weights that are not rounded.
  public var ignored: [String]
  /// Whether quantized weights become plain numbers.
  public var dequantizes: Bool
  /// How much a file may hold, in containers that can be written in parts.
  public var partLimit: PartLimit

  /// The search that gives what users of a codec expect: the legacy GGML types round as their reference quantizers do.
  public static func usualSearch(for codec: any Codec) -> ScaleSearch {
    ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0"].contains(codec.canonicalName) ? .extremes : .standard
  }

  /// Creates a request.
  public init(
    container: ModelContainer, elementType: ElementType? = nil, codec: (any Codec)? = nil,
    search: ScaleSearch = .standard, targets: [String] = [], ignored: [String] = [],
    dequantizes: Bool = false,
    partLimit: PartLimit = PartLimit()
  ) {
    self.container = container
    self.elementType = elementType
    self.codec = codec
    self.search = search
    self.targets = targets
    self.ignored = ignored
    self.dequantizes = dequantizes
    self.partLimit = partLimit
  }
}
