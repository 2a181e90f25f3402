import Kernels
import SafeIO

/// How a model is packed.
public struct PackOptions: Sendable {
  /// How weights lie in the file.
  public enum Layout: String, Sendable {
    /// Panels of 16 rows, used in place by the kernels of every instruction set that Adze has so far.
    case panel16
    /// The codec's own planes, row-major, for any reader; packed into panels when loaded.
    case canonical

    /// What a packed file with this layout asks of its reader.
    var feature: String { "layout-" + rawValue }
  }

  /// How weights lie in the file.
  public var layout: Layout
  /// Whether sections are compressed with zstd; they are then unpacked into memory instead of being used in place. Panels of bf16
  /// are plain in such a file, where they become smaller than compact ones.
  public var compresses: Bool

  /// Creates options.
  public init(layout: Layout = .panel16, compresses: Bool = false) {
    self.layout = layout
    self.compresses = compresses
  }

  /// Everything that a packed file may ask of this build.
  public static let supportedFeatures: Set<String> = Set(
    [Layout.panel16.feature, Layout.canonical.feature] + panelFeatures.map(\.feature))

  /// What a packed file with panels of these encodings asks of its reader besides.
  static let panelFeatures: [(encoding: PanelEncoding, feature: String)] = [
    (.e4m3, "panels-e4m3"), (.compactBF16, "panels-compact-bf16"),
  ]

  /// The layout for a `--isa` choice. Panels do not differ between instruction sets, so every named set gives them;
  /// `portable` gives planes.
  /// - Throws: ``PipelineError/usage(_:hint:)`` for an unknown name.
  public static func layout(instructionSet name: String) throws(PipelineError) -> Layout {
    switch name {
    case "auto", "avx512", "avx2", "neon": return .panel16
    case "portable": return .canonical
    default:
      throw .usage("no instruction set is called '\(name)'", hint: "auto, avx512, avx2, neon, portable")
    }
  }
}

/// What a packed file says of itself.
public struct PackedDescription: Sendable {
  /// Layout of the weights.
  public let layout: PackOptions.Layout
  /// Storage of the linear layers inside the blocks, in bits per weight, before panels pad anything.
  public let bitsPerWeight: Double
  /// Where the weights came from and what was done to them.
  public let provenance: JSONValue
}
