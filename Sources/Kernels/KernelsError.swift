import TensorCore

/// What can be wrong with weights that are to be laid out for kernels.
public enum KernelsError: DiagnosableError, Equatable {
  /// Weights whose rows should follow one another have different lengths.
  case columnMismatch(expected: Int, found: Int)
  /// There was no weight, or one that is no matrix.
  case notAMatrix(shape: String)
  /// Stored panels have the wrong size for their description.
  case storageSize(expected: Int, found: Int)
  /// Stored panels have an impossible description.
  case invalidLayout(String)
  /// A size overflows or an element type has no float value.
  case tensor(TensorCoreError)

  /// The presentation.
  public var diagnostic: Diagnostic {
    switch self {
    case .columnMismatch(let expected, let found):
      Diagnostic(
        code: "kernels.column-mismatch", status: .bug,
        message: "weights packed together have different columns",
        expected: "\(expected)", found: "\(found)")
    case .notAMatrix(let shape):
      Diagnostic(
        code: "kernels.not-a-matrix", message: "a linear layer needs a matrix", expected: "[out, in]",
        found: shape)
    case .storageSize(let expected, let found):
      Diagnostic(
        code: "kernels.storage-size", message: "packed weights have the wrong size",
        expected: "\(expected) bytes",
        found: "\(found) bytes")
    case .invalidLayout(let reason):
      Diagnostic(code: "kernels.invalid-layout", message: "packed weights cannot be used: \(reason)")
    case .tensor(let error): error.diagnostic
    }
  }
}
