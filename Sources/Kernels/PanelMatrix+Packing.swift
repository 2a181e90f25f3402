import Codecs
import OrderedCollections
import TensorCore

extension PanelMatrix {
  /// Lays out the rows of several weights one after another; all have the same columns.
  ///
  /// Dense weights of one type among f32, bf16 and f16 keep it, others become f32. Integer codes stay codes when their
  /// groups are whole blocks of 32, 64 or 128 columns (or whole rows) and their scales fit f16; so do codecs that are
  /// integer codes in another layout. E4M3 codes stay codes where blocks of 32, 64 or 128 columns share a scale, or rows, or all.
  /// The values of every other codec are stored as f16 where that rounds no value by
  /// more than 2^-11 of itself or 2^-15 of the largest one, and as f32 where it would.
  ///
  /// - Parameters:
  ///   - weights: matrices, at least one.
  ///   - pool: threads to work with; nil for the calling one.
  ///   - arena: where the panels lie among others; nil for memory of their own.
  ///   - compacts: whether bf16 becomes compact where that takes clearly fewer bytes.
  /// - Throws: ``KernelsError``.
  public init(
    packing weights: [Weight], pool: ThreadPool? = nil, in arena: WeightArena? = nil, compacts: Bool = false
  ) throws(KernelsError) {
    let weights = weights.map(PackingPlan.integerForm)
    guard let first = weights.first else { throw .notAMatrix(shape: "nothing") }
    for weight in weights {
      guard weight.shape.rank == 2 else { throw .notAMatrix(shape: weight.shape.description) }
      guard weight.shape.columns == first.shape.columns else {
        throw .columnMismatch(expected: first.shape.columns, found: weight.shape.columns)
      }
      if case .dense(let tensor) = weight, tensor.elementType.bitWidth % 8 != 0 || tensor.elementType == .c64
      {
        throw .tensor(.unsupportedElementType(tensor.elementType, purpose: "a linear layer"))
      }
    }
    var plan = PackingPlan(weights)
    if compacts { plan.makeCompact(weights) }
    let rows = weights.reduce(0) { $0 + $1.shape.rows }
    let layout = try PanelLayout(
      encoding: plan.encoding, rows: rows, columns: first.shape.columns, blockLength: plan.blockLength,
      hasZeros: plan.hasZeros, exceptionByteCount: plan.exceptionByteCount)
    let packer = PanelPacker(plan: plan, layout: layout, weights: weights)
    let place = arena?.place(layout.byteCount)
    let region: MemoryRegion
    if let place {
      unsafe packer.pack(into: place.bytes, pool: pool)
      region = place.region
    } else {
      unsafe region = LargeMemory.region(byteCount: layout.byteCount) { target in
        unsafe packer.pack(into: target, pool: pool)
      }
    }
    do throws(TensorCoreError) {
      try self.init(
        encoding: plan.encoding, rows: rows, columns: first.shape.columns, blockLength: plan.blockLength,
        hasZeros: plan.hasZeros,
        storage: Tensor(
          elementType: .u8, shape: Shape([layout.byteCount]), region: region, byteOffset: place?.offset ?? 0),
        isExact: plan.isExact)
    } catch { throw .tensor(error) }
    isFromCodes =
      !plan.encoding.isQuantized && weights.contains { if case .encoded = $0 { true } else { false } }
  }

  /// Whether the codes of a matrix stay codes when it is packed; otherwise panels hold its values as plain numbers.
  public static func keepsCodes(_ matrix: EncodedMatrix) -> Bool {
    PackingPlan.codes([PackingPlan.integerForm(.encoded(matrix))]) != nil
  }

  private init(
    encoding: PanelEncoding, rows: Int, columns: Int, blockLength: Int, hasZeros: Bool, storage: Tensor,
    isExact: Bool
  ) {
    self.encoding = encoding
    self.rows = rows
    self.columns = columns
    self.blockLength = blockLength
    self.hasZeros = hasZeros
    self.storage = storage
    self.isExact = isExact
    isFromCodes = false
  }
}

/// How a list of weights is stored.
struct PackingPlan {
  var encoding = PanelEncoding.f32
  var blockLength = 0
  var hasZeros = false
  var isExact = true
  /// Room for the exceptions of a compact panel.
  var exceptionByteCount = 0

  init(_ weights: [Weight]) {
    if let dense = PackingPlan.denseEncoding(weights) {
      encoding = dense
      return
    }
    if let plan = PackingPlan.codes(weights) {
      self = plan
      return
    }
    switch HalfFit(weights) {
    case .exact: encoding = .f16
    case .rounded: (encoding, isExact) = (.f16, false)
    case .outOfRange: break
    }
  }

  private init() {}

  /// A plan that keeps codes; nil when there are weights whose codes cannot be kept.
  static func codes(_ weights: [Weight]) -> PackingPlan? {
    var plan = PackingPlan()
    return plan.planCodes(weights) || plan.planFloatCodes(weights) ? plan : nil
  }

  /// Plans to keep codes; false, and nothing is planned, when there are other weights.
  private mutating func planCodes(_ weights: [Weight]) -> Bool {
    var plan = self
    var lengths: [Int] = []
    var bits = 0
    for weight in weights {
      guard case .encoded(let matrix) = weight, let codec = matrix.codec as? IntegerGroupCodec,
        let length = PackingPlan.blockLength(codec, columns: matrix.columns)
      else { return false }
      switch ScaleFit(matrix) {
      case .exact: break
      case .rounded: plan.isExact = false
      case .outOfRange: return false
      }
      lengths.append(length)
      bits = max(bits, codec.bits)
      if !codec.isSymmetric { plan.hasZeros = true }
    }
    plan.encoding = bits <= 4 ? .q4 : .q8
    plan.blockLength = lengths.min() ?? 128
    self = plan
    return true
  }

  /// Plans to keep E4M3 codes; false, and nothing is planned, when there are other weights, codes that are no numbers, or scales
  /// near the ends of float32.
  private mutating func planFloatCodes(_ weights: [Weight]) -> Bool {
    var length = 128
    for weight in weights {
      guard case .encoded(let matrix) = weight, let codec = matrix.codec as? Float8Codec,
        codec.format == .e4m3,
        let codes = matrix.planes["codes"], let scales = try? matrix.planes["scales"]?.floats()
      else { return false }
      if case .block(let size) = codec.granularity {
        guard let fits = [128, 64, 32].first(where: { size % $0 == 0 }) else { return false }
        length = min(length, fits)
      }
      guard scales.allSatisfy({ $0 == 0 || (0x1p-100...0x1p100).contains($0.magnitude) }) else {
        return false
      }
      let isNumeric = unsafe codes.withBytes { bytes in unsafe bytes.allSatisfy { $0 & 0x7F != 0x7F } }
      guard isNumeric else { return false }
    }
    (encoding, blockLength) = (.e4m3, length)
    return true
  }

  /// Codes in another layout as integer groups; every other weight as it is.
  static func integerForm(_ weight: Weight) -> Weight {
    guard case .encoded(let matrix) = weight, let codec = matrix.codec as? any IntegerGroupConvertible,
      let groups = codec.integerGroups(of: matrix)
    else { return weight }
    return .encoded(groups)
  }

  private static func denseEncoding(_ weights: [Weight]) -> PanelEncoding? {
    var found: PanelEncoding?
    for weight in weights {
      guard case .dense(let tensor) = weight else { return nil }
      let encoding: PanelEncoding =
        switch tensor.elementType {
        case .bf16: .bf16
        case .f16: .f16
        default: .f32
        }
      if let earlier = found, earlier != encoding { return .f32 }
      found = encoding
    }
    return found
  }

  /// The largest block that divides every group; nil when groups do not consist of whole blocks of neighbours.
  static func blockLength(_ codec: IntegerGroupCodec, columns: Int) -> Int? {
    if codec.hasGroupIndex { return nil }
    let length = codec.groupLength(columns: columns)
    if length >= columns { return 128 }
    return [128, 64, 32].first { length % $0 == 0 }
  }
}
