import CKernels
import TensorCore

/// How the elements of a ``PanelMatrix`` are stored.
public enum PanelEncoding: String, Sendable, CaseIterable {
  case f32, bf16, f16, q8, q4, e4m3
  case compactBF16 = "compact_bf16"

  /// Whether elements are integer codes with scales.
  public var isQuantized: Bool { self == .q8 || self == .q4 }

  /// Whether elements are codes with scales for blocks of columns.
  public var hasScales: Bool { isQuantized || self == .e4m3 }

  /// Bytes of a scale.
  var scaleWidth: Int { self == .e4m3 ? 4 : 2 }

  /// The number that C knows it by.
  var code: Int32 {
    switch self {
    case .f32: Int32(CK_F32)
    case .bf16: Int32(CK_BF16)
    case .f16: Int32(CK_F16)
    case .q8: Int32(CK_Q8)
    case .q4: Int32(CK_Q4)
    case .e4m3: Int32(CK_E4M3)
    case .compactBF16: Int32(CK_COMPACT_BF16)
    }
  }
}

/// A weight matrix `[rows, columns]` laid out for the kernels of every instruction set: panels of 16 rows.
///
/// Rows are padded with zeros to a multiple of 16; panel `p` holds rows `16p ..< 16p + 16`, and panels follow each
/// other without gaps. All numbers are little-endian.
///
/// **Dense** (`f32`, `bf16`, `f16`): for each column, 16 consecutive elements, one a row.
///
/// **Codes** (`q8`, `q4`): columns are cut into blocks of ``blockLength`` (32, 64 or 128); the last block is padded. A
/// panel is three planes, each padded to a multiple of 64 bytes:
///
/// 1. scales: for each block, 16 f16;
/// 2. zero points, only if ``hasZeros``: for each block, 16 u8;
/// 3. codes, unsigned. `q8`: for each 4 columns, 64 bytes, byte `4i + j` is the code of row `i`, column `j` of the
///    four. `q4`: for each 8 columns, 64 bytes, byte `4i + j` holds the code of row `i`, column `j` of the eight in its
///    low nibble and that of column `4 + j` in its high nibble.
///
/// **FP8** (`e4m3`): blocks of columns as for codes. A panel is two planes, each padded to a multiple of 64 bytes: scales, for
/// each block 16 f32, and codes, for each column 16 bytes, one a row. A value is `scale * code`, rounded to float32 once.
///
/// **Compact** (`compact_bf16`): the values of `bf16` in 12 bits each, and kernels give the same bits for both. The exponents of a row are
/// counted down from its largest one. A panel is
///
/// 1. 64 bytes: for each row a u8, its largest biased exponent; u32, the number of exceptions; zeros;
/// 2. room for exceptions, a multiple of 64 bytes that is the same in all panels: elements whose exponent is more than 15 below the
///    largest, in order of columns and then of rows. Each is u32 column, u16 row of the panel, u16 bf16;
/// 3. for each 8 columns, the last of them padded, 192 bytes: for each row 32 bits, of which bits `4i ..< 4i + 4` are how far the
///    exponent of column `2i` lies below the largest, and bits `16 + 4i ..< 20 + 4i` that of column `2i + 1`; then 128 bytes, of which
///    byte `32i + 2r + j` holds the sign (the highest bit) and the mantissa of row `r`, column `2i + j`. What stands in the place of an
///    exception is not read.
///
/// A value of integer codes is `scale * (code - zero)`, exact in float32; without zero points `zero` is 128 (`q8`) or 8 (`q4`). Codes of
/// 2 to 4 bits become `q4`, those of 5 to 8 bits `q8`, shifted so that the fixed zero point holds.
@safe
public struct PanelMatrix: Sendable {
  /// Rows of a panel.
  public static let panelRows = 16
  /// How elements are stored.
  public let encoding: PanelEncoding
  /// Output features.
  public let rows: Int
  /// Input features.
  public let columns: Int
  /// Columns that share a scale; 0 for dense encodings.
  public let blockLength: Int
  /// Whether zero points are stored.
  public let hasZeros: Bool
  /// The bytes, as u8.
  public let storage: Tensor
  /// Whether every value is the one that the weight had; false when scales of a wider type, or values of
  /// codecs that have no integer form, were rounded to f16.
  public internal(set) var isExact = true

  /// Whether the weight was one of codes that have no integer form, such as FP8, and is kept as floats: its inputs are rounded
  /// to FP8 when that is asked for.
  public internal(set) var isFromCodes: Bool

  /// Adopts bytes laid out before, such as those of a packed file.
  /// - Throws: ``KernelsError/storageSize(expected:found:)`` or ``KernelsError/invalidLayout(_:)``.
  public init(
    encoding: PanelEncoding, rows: Int, columns: Int, blockLength: Int, hasZeros: Bool, storage: Tensor
  ) throws(KernelsError) {
    var layout = try PanelLayout(
      encoding: encoding, rows: rows, columns: columns, blockLength: blockLength, hasZeros: hasZeros)
    if encoding == .compactBF16 {
      let exceptions = try layout.exceptionByteCount(of: storage.byteCount)
      layout = try PanelLayout(
        encoding: encoding, rows: rows, columns: columns, blockLength: blockLength, hasZeros: hasZeros,
        exceptionByteCount: exceptions)
    }
    guard storage.byteCount == layout.byteCount else {
      throw .storageSize(expected: layout.byteCount, found: storage.byteCount)
    }
    let address = unsafe storage.withBytes { UInt(bitPattern: $0.baseAddress) }
    guard address % 4 == 0 else { throw .invalidLayout("the bytes are not aligned") }
    self.encoding = encoding
    self.rows = rows
    self.columns = columns
    self.blockLength = blockLength
    self.hasZeros = hasZeros
    self.storage = storage
    isFromCodes = encoding == .e4m3
    try checkExceptions()
  }

  /// Bytes of storage.
  public var byteCount: Int { storage.byteCount }

  /// Panels.
  public var panelCount: Int { (rows + PanelMatrix.panelRows - 1) / PanelMatrix.panelRows }

  /// The memory as C sees it, valid as long as the storage lives.
  var view: ck_panels {
    let scaleBytes = PanelLayout.padded(blockCount * 16 * encoding.scaleWidth)
    let zeroBytes = hasZeros ? PanelLayout.padded(blockCount * 16) : 0
    let panelBytes = panelCount == 0 ? 0 : byteCount / panelCount
    let steps = Checked.ceilingQuotient(columns, 8) * PanelLayout.compactStep
    return unsafe storage.withBytes { bytes in
      unsafe ck_panels(
        bytes: bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), rows: rows, columns: columns,
        panel_bytes: panelBytes, zeros_offset: scaleBytes,
        codes_offset: encoding == .compactBF16
          ? max(panelBytes - steps, Int(CK_COMPACT_HEADER)) : scaleBytes + zeroBytes, encoding: encoding.code,
        block_length: Int32(blockLength),
        has_zeros: hasZeros ? 1 : 0, after: nil)
    }
  }

  private var blockCount: Int { blockLength == 0 ? 0 : (columns + blockLength - 1) / blockLength }

  /// Writes one row as floats; `target` must hold ``columns`` of them.
  public func decodeRow(_ row: Int, into target: UnsafeMutablePointer<Float>) {
    precondition(row >= 0 && row < rows, "row out of range")
    var view = unsafe view
    unsafe ck_decode_row(&view, row, target)
    withExtendedLifetime(storage) {}
  }
}

/// Sizes of the parts of a panel.
struct PanelLayout {
  let blockCount: Int
  let panelByteCount: Int
  let panelCount: Int
  let byteCount: Int

  /// - Parameter exceptionByteCount: room for exceptions in each compact panel.
  /// - Throws: ``KernelsError/invalidLayout(_:)`` or an overflow.
  init(
    encoding: PanelEncoding, rows: Int, columns: Int, blockLength: Int, hasZeros: Bool,
    exceptionByteCount: Int = 0
  ) throws(KernelsError) {
    guard rows >= 0, columns >= 0 else { throw .invalidLayout("negative size") }
    if encoding.hasScales {
      guard [32, 64, 128].contains(blockLength), encoding.isQuantized || !hasZeros else {
        throw .invalidLayout("blocks of \(blockLength) columns\(hasZeros ? " with zero points" : "")")
      }
      blockCount = Checked.ceilingQuotient(columns, blockLength)
    } else {
      guard blockLength == 0, !hasZeros else { throw .invalidLayout("dense panels have no blocks") }
      blockCount = 0
    }
    panelCount = Checked.ceilingQuotient(rows, PanelMatrix.panelRows)
    // Far below the range of Int even after multiplication by the bytes of a column.
    guard columns < 1 << 48, rows < 1 << 48 else { throw .invalidLayout("too large") }
    let wide = blockCount * blockLength
    switch encoding {
    case .f32: panelByteCount = columns * 64
    case .bf16, .f16: panelByteCount = columns * 32
    case .e4m3:
      panelByteCount = PanelLayout.padded(blockCount * 64) + PanelLayout.padded(columns * 16)
    case .compactBF16:
      guard columns <= UInt32.max else { throw .invalidLayout("too large") }
      panelByteCount = PanelLayout.compactByteCount(columns: columns) + exceptionByteCount
    case .q8:
      panelByteCount =
        PanelLayout.padded(blockCount * 32) + (hasZeros ? PanelLayout.padded(blockCount * 16) : 0) + wide * 16
    case .q4:
      panelByteCount =
        PanelLayout.padded(blockCount * 32) + (hasZeros ? PanelLayout.padded(blockCount * 16) : 0) + wide * 8
    }
    do throws(TensorCoreError) {
      byteCount = try Checked.product(panelCount, panelByteCount)
    } catch { throw .tensor(error) }
  }

  static func padded(_ byteCount: Int) -> Int { (byteCount + 63) / 64 * 64 }
}
