import CKernels
import Codecs
import Glibc
import OrderedCollections
import TensorCore

extension PanelMatrix {
  /// Lays out the rows of several weights one after another; all have the same columns.
  ///
  /// Dense weights of one type among f32, bf16 and f16 keep it, others become f32. Integer codes stay codes when their
  /// groups are whole blocks of 32, 64 or 128 columns (or whole rows) and their scales fit f16; otherwise, and for
  /// every other codec, the decoded values are stored as f32.
  ///
  /// - Parameters:
  ///   - weights: matrices, at least one.
  ///   - pool: threads to work with; nil for the calling one.
  /// - Throws: ``KernelsError``.
  public init(packing weights: [Weight], pool: ThreadPool? = nil) throws(KernelsError) {
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
    let plan = PackingPlan(weights)
    let rows = weights.reduce(0) { $0 + $1.shape.rows }
    let layout = try PanelLayout(
      encoding: plan.encoding, rows: rows, columns: first.shape.columns, blockLength: plan.blockLength,
      hasZeros: plan.hasZeros)
    let packer = PanelPacker(plan: plan, layout: layout, weights: weights)
    let region = unsafe LargeMemory.region(byteCount: layout.byteCount) { target in
      unsafe packer.pack(into: target, pool: pool)
    }
    do throws(TensorCoreError) {
      try self.init(
        encoding: plan.encoding, rows: rows, columns: first.shape.columns, blockLength: plan.blockLength,
        hasZeros: plan.hasZeros,
        storage: Tensor(elementType: .u8, shape: Shape([layout.byteCount]), region: region),
        isExact: plan.isExact)
    } catch { throw .tensor(error) }
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
  }
}

/// Memory for weights: large pages where there are any, since kernels stream through it.
enum LargeMemory {
  static func region(byteCount: Int, fill: (UnsafeMutableRawBufferPointer) -> Void) -> MemoryRegion {
    guard byteCount >= 1 << 21 else { return unsafe MemoryRegion(byteCount: byteCount, fill: fill) }
    let pages = unsafe mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let pages = unsafe pages, unsafe pages != MAP_FAILED else {
      return unsafe MemoryRegion(byteCount: byteCount, fill: fill)
    }
    unsafe ck_advise_large_pages(pages, byteCount)
    unsafe fill(UnsafeMutableRawBufferPointer(start: pages, count: byteCount))
    return unsafe MemoryRegion(adopting: UnsafeRawPointer(pages), byteCount: byteCount) { start, count in
      unsafe _ = munmap(UnsafeMutableRawPointer(mutating: start), count)
    }
  }
}

/// How a list of weights is stored.
struct PackingPlan {
  var encoding = PanelEncoding.f32
  var blockLength = 0
  var hasZeros = false
  var isExact = true

  init(_ weights: [Weight]) {
    if let dense = PackingPlan.denseEncoding(weights) {
      encoding = dense
      return
    }
    var lengths: [Int] = []
    var bits = 0
    for weight in weights {
      guard case .encoded(let matrix) = weight, let codec = matrix.codec as? IntegerGroupCodec,
        let length = PackingPlan.blockLength(codec, columns: matrix.columns)
      else { return }
      switch ScaleFit(matrix) {
      case .exact: break
      case .rounded: isExact = false
      case .outOfRange:
        isExact = true
        return
      }
      lengths.append(length)
      bits = max(bits, codec.bits)
      if !codec.isSymmetric { hasZeros = true }
    }
    encoding = bits <= 4 ? .q4 : .q8
    blockLength = lengths.min() ?? 128
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

  /// The largest block that divides every group; nil when groups do not consist of whole blocks.
  static func blockLength(_ codec: IntegerGroupCodec, columns: Int) -> Int? {
    let length = codec.groupLength(columns: columns)
    if length >= columns { return 128 }
    return [128, 64, 32].first { length % $0 == 0 }
  }
}

/// Whether the scales of a matrix can be f16.
enum ScaleFit {
  case exact, rounded, outOfRange

  init(_ matrix: EncodedMatrix) {
    guard let plane = matrix.planes["scales"], plane.elementType != .f16 else {
      self = .exact
      return
    }
    var result = ScaleFit.exact
    for scale in (try? plane.floats()) ?? [] {
      let half = Float16(scale)
      if Float(half) == scale { continue }
      guard half.isFinite, half.magnitude >= Float16.leastNormalMagnitude else {
        self = .outOfRange
        return
      }
      result = .rounded
    }
    self = result
  }
}
