import Codecs
import Kernels

/// How a program computes.
public struct ExecutionOptions: Sendable {
  /// What inputs of quantized linear layers are rounded to, whatever the model says; nil: as the model says. ``float32`` is what
  /// the stored weights mean exactly.
  public var activations: ActivationScheme?
  /// What inputs of quantized linear layers are rounded to of which the model says nothing.
  public var unstatedActivations = ActivationScheme.int8Block
  /// Whether rounded activations are multiplied as floats, the plain way that integer arithmetic is compared with.
  public var simulatesActivations = false
  /// How keys and values are cached, whatever the model says; nil: as the model says.
  public var cache: KVFormat?
  /// How keys and values are cached of a model that says nothing of it.
  public var unstatedCache = KVFormat.f16
  /// Which entries of the caches stay when they are full; nil: caches grow, and all do.
  public var cachePolicy: (any CachePolicy)?
  /// Most tokens of one pass; longer inputs are cut.
  public var chunkLength: Int
  /// Kernels to use.
  public var kernels: KernelTable
  /// What the planner does beside choosing kernels; everything unless the worth of a part is measured.
  public var layout: LayoutOptions = .all

  /// Creates options.
  public init(
    activations: ActivationScheme? = nil, cache: KVFormat? = nil, chunkLength: Int = 512,
    kernels: KernelTable = .best
  ) {
    self.activations = activations
    self.cache = cache
    self.chunkLength = max(1, chunkLength)
    self.kernels = kernels
  }

  /// Float32 everywhere: for calibration, and for measuring what weights alone cost.
  public static var reference: ExecutionOptions {
    ExecutionOptions(activations: .float32, cache: .f32)
  }
}

/// What the planner does to need less memory and time; no part changes a bit of the results.
public struct LayoutOptions: OptionSet, Sendable, Hashable {
  /// The parts as bits.
  public let rawValue: Int

  /// The parts with these bits.
  public init(rawValue: Int) { self.rawValue = rawValue }

  /// Values that are not needed at the same time share memory.
  public static let sharedArena = LayoutOptions(rawValue: 1)
  /// Operations overwrite an operand that nothing needs after them.
  public static let inPlace = LayoutOptions(rawValue: 2)
  /// After the last keys and values only rows are computed that somebody reads: queries of the last attention, its
  /// feed-forward, and logits.
  public static let readRows = LayoutOptions(rawValue: 4)

  /// Norms make the codes of what linear layers read, once for all of them.
  public static let roundedInputs = LayoutOptions(rawValue: 8)
  /// Small matrices share large pages. Read when weights are prepared.
  public static let weightArena = LayoutOptions(rawValue: 16)

  /// Threads that wait fetch the weights of the next operation into their caches, when few rows are computed.
  public static let expectedWeights = LayoutOptions(rawValue: 32)

  /// Matrices of bf16 are stored in 12 bits a weight where few of their exponents are far apart. Read when weights are prepared.
  public static let compactWeights = LayoutOptions(rawValue: 64)

  /// All parts.
  public static let all: LayoutOptions = [
    .sharedArena, .inPlace, .readRows, .roundedInputs, .weightArena, .expectedWeights, .compactWeights,
  ]

  /// The parts with their names.
  public static let named: [(name: String, part: LayoutOptions)] = [
    ("shared-arena", .sharedArena), ("in-place", .inPlace), ("read-rows", .readRows),
    ("rounded-inputs", .roundedInputs), ("weight-arena", .weightArena),
    ("expected-weights", .expectedWeights), ("compact-weights", .compactWeights),
  ]
}
