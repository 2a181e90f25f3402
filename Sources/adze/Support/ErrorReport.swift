import ArgumentParser
import Glibc
import SafeIO
import TensorCore

/// Turns an error into a line on standard error and an exit status.
enum ErrorReport {
  /// - Parameter command: the command that was running; the root while the command line is parsed.
  static func exit(_ error: any Error, of command: any ParsableCommand.Type) -> Never {
    Console.finishProgress()
    switch error {
    case let interruption as Interruption:
      Console.note("interrupted")
      Glibc.exit(128 + interruption.signal)
    case let error as any DiagnosableError:
      Console.note(error.diagnostic.rendered)
      Glibc.exit(error.diagnostic.status.rawValue)
    case let error as ValidationError where command != Adze.self:
      // ArgumentParser would point to the root, whose help says nothing of the command's options.
      let name = command.configuration.commandName ?? ""
      Console.note("Error: \(error.message)\n  See 'adze help \(name)' for more information.")
      Glibc.exit(ExitCode.validationFailure.rawValue)
    default:
      // Usage errors, help and version are ArgumentParser's; it knows their text and status.
      Adze.exit(withError: error)
    }
  }
}
