import ArgumentParser
import Glibc
import SafeIO
import TensorCore

/// Turns an error into a line on standard error and an exit status.
enum ErrorReport {
  static func exit(_ error: any Error) -> Never {
    Console.finishProgress()
    switch error {
    case let interruption as Interruption:
      Console.note("interrupted")
      Glibc.exit(128 + interruption.signal)
    case let error as any DiagnosableError:
      Console.note(error.diagnostic.rendered)
      Glibc.exit(error.diagnostic.status.rawValue)
    default:
      // Usage errors, help and version are ArgumentParser's; it knows their text and status.
      Adze.exit(withError: error)
    }
  }
}
