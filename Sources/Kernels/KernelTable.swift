import CKernels

/// The kernels of one instruction set: a row per operation and type, and the operations themselves as methods.
///
/// Every operation gives the same bits for any instruction set, any number of threads and any number of tokens beside
/// a row: sums run in one fixed order, and a fused multiply-add is one everywhere.
@safe
public final class KernelTable: Sendable {
  /// The instruction set of these kernels.
  public let instructionSet: InstructionSet
  let functions: ck_table

  private init?(_ instructionSet: InstructionSet) {
    guard let functions = unsafe ck_table_for(instructionSet.code)?.pointee else { return nil }
    self.instructionSet = instructionSet
    self.functions = functions
  }

  /// The tables of this processor, slowest first; the portable one is always there.
  public static let available: [KernelTable] = InstructionSet.allCases.compactMap { KernelTable($0) }

  /// The fastest table.
  public static let best: KernelTable = available[available.count - 1]

  /// The table of an instruction set; nil when the processor lacks it.
  public static func table(for instructionSet: InstructionSet) -> KernelTable? {
    available.first { $0.instructionSet == instructionSet }
  }
}
