import CKernels

/// An instruction set that kernels exist for; every one gives the same bits.
public enum InstructionSet: String, Sendable, CaseIterable, Comparable {
  /// Plain C, for any processor.
  case portable
  /// x86-64 with AVX2, FMA and F16C.
  case avx2
  /// x86-64 with AVX-512 F, BW, DQ, VL and VNNI.
  case avx512

  /// The number that C knows it by.
  var code: Int32 {
    switch self {
    case .portable: Int32(CK_PORTABLE)
    case .avx2: Int32(CK_AVX2)
    case .avx512: Int32(CK_AVX512)
    }
  }

  /// Those that this processor has, slowest first.
  public static let available: [InstructionSet] = allCases.filter { unsafe ck_table_for($0.code) != nil }

  /// The fastest that this processor has.
  public static let best: InstructionSet = available.last ?? .portable

  /// From portable to the widest.
  public static func < (left: InstructionSet, right: InstructionSet) -> Bool { left.code < right.code }
}
