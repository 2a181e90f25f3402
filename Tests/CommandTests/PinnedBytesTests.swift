import Kernels
import SafeIO
import TestSupport
import Testing

/// The bytes that `quantize` writes for the shipped model, pinned: a change of a method's arithmetic that nobody meant cannot pass
/// unseen, since a worse quantization looks like a good one.
///
/// They are the same on every instruction set and with any number of threads. What OpenBLAS computes depends on the processor and on
/// its version: the runs below have it use the kernels of one processor that every x86-64 can stand in for, and other versions are
/// left out.
///
/// A change that is meant: run `swift test -c release --filter PinnedBytesTests`, look with `adze compare` on what became of the
/// accuracy (`make demo`, or the README's commands for the reference model), and put the digests that the failures print below, together
/// with that change and with the figures in its description.
@Suite struct PinnedBytesTests {
  private static let rounded = "6713dbbda93abc220a812bdbd46fd925cba461c246bab5120ebf9e68d8fa976c"
  private static let corrected = "4b5a939ca5e1999aa0311261c2165f2906c5da01109cf2c878e6218c614f2576"
  private static let library = "OpenBLAS 0.3.21 "

  private static var isLibraryKnown: Bool {
    #if arch(x86_64)
      BLAS.configuration.hasPrefix(library) && BLAS.configuration.contains("DYNAMIC_ARCH")
    #else
      false
    #endif
  }

  /// The digest of the weights' file.
  private func digest(_ arguments: [String], isa: String, threads: Int) throws -> String {
    let directory = TemporaryDirectory()
    let output = directory.file("quantized")
    let run = CommandRun(
      ["quantize", Fixture.acorn, "-o", output, "--codec", "int4", "--group-size", "32"] + arguments
        + ["--isa", isa, "--threads", "\(threads)"],
      environment: ["OPENBLAS_CORETYPE=Nehalem"])
    #expect(run.status == 0, "\(run.errors)")
    return Checksum.sha256(
      try FileReading.readAll(output + "/model.safetensors", limit: 1 << 26)
    ).hexadecimal
  }

  @Test func roundToNearestGivesTheBytesThatItGave() throws {
    for set in InstructionSet.available {
      let found = try digest(["--method", "rtn"], isa: set.rawValue, threads: set == .portable ? 1 : 2)
      #expect(found == Self.rounded, "\(set)")
    }
  }

  /// Three layers, calibrated through the quantized ones before, corrected for their errors and refined: everything that is on by
  /// default. Without vectors this takes longer than a test may.
  @Test(.enabled(if: isLibraryKnown, "the digest is that of another OpenBLAS"))
  func gptqGivesTheBytesThatItGave() throws {
    for set in InstructionSet.available where set != .portable || InstructionSet.best == .portable {
      let found = try digest(
        [
          "--method", "gptq", "--corpus", Fixture.calibrationText, "--samples", "4", "--length", "64",
          "--target", #"layers\.[0-2]\."#,
        ], isa: set.rawValue, threads: set == .best ? 2 : 1)
      #expect(found == Self.corrected, "\(set)")
    }
  }
}
