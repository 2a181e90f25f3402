import Glibc
import SafeIO
import TestSupport

/// One run of the built `adze`.
struct CommandRun {
  let status: Int32
  let output: String
  let errors: String

  /// The executable: beside the test bundle, else in the project's build folder.
  static let executable: String? = {
    let bundle = CommandLine.arguments.first.map { FileReading.directory(of: $0) }
    let candidates = [
      bundle, SharedData.projectRoot + "/.build/release", SharedData.projectRoot + "/.build/debug",
    ]
    return candidates.compactMap { $0.map { $0 + "/adze" } }.first { unsafe access($0, X_OK) == 0 }
  }()

  /// Runs the command to its end.
  /// - Parameter environment: variables besides those of this process, `NAME=VALUE`, before which they are found.
  init(_ arguments: [String], environment: [String] = []) {
    let process = Running(arguments, environment: environment)
    self = process.wait()
  }

  init(_ arguments: String...) { self.init(arguments) }

  fileprivate init(status: Int32, output: String, errors: String) {
    self.status = status
    self.output = output
    self.errors = errors
  }

  /// What was printed, as JSON.
  func json() throws -> JSONValue { try JSONValue.parse(Array(output.utf8), file: "standard output") }

  /// A process under way; its output goes to files.
  final class Running {
    private let directory = TemporaryDirectory()
    private var process: pid_t = 0

    init(_ arguments: [String], environment: [String] = []) {
      let executable = CommandRun.executable ?? "adze-is-not-built"
      var actions = unsafe posix_spawn_file_actions_t()
      unsafe posix_spawn_file_actions_init(&actions)
      defer { unsafe posix_spawn_file_actions_destroy(&actions) }
      for (descriptor, name) in [(STDOUT_FILENO, "output"), (STDERR_FILENO, "errors")] {
        let path = directory.file(name)
        unsafe posix_spawn_file_actions_addopen(
          &actions, descriptor, path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
      }
      var words: [UnsafeMutablePointer<CChar>?] =
        unsafe ([executable] + arguments).map { unsafe strdup($0) } + [nil]
      defer { unsafe words.forEach { unsafe free($0) } }
      var variables: [UnsafeMutablePointer<CChar>?] = unsafe environment.map { unsafe strdup($0) }
      defer { unsafe variables.prefix(environment.count).forEach { unsafe free($0) } }
      var inherited = unsafe environ
      while let variable = unsafe inherited.pointee {
        unsafe variables.append(variable)
        unsafe inherited += 1
      }
      unsafe variables.append(nil)
      // Threads of the test runner block signals, and a child would inherit that.
      var attributes = posix_spawnattr_t()
      unsafe posix_spawnattr_init(&attributes)
      defer { unsafe posix_spawnattr_destroy(&attributes) }
      var none = sigset_t()
      unsafe sigemptyset(&none)
      unsafe posix_spawnattr_setsigmask(&attributes, &none)
      unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
      let code = unsafe posix_spawn(&process, executable, &actions, &attributes, &words, &variables)
      precondition(code == 0, "cannot run \(executable)")
    }

    /// Sends a signal.
    func signal(_ number: Int32) { kill(process, number) }

    /// Waits for the end; a signal's number becomes 128 + number, as in a shell.
    func wait() -> CommandRun {
      var ended: Int32 = 0
      while unsafe waitpid(process, &ended, 0) < 0, errno == EINTR {}
      let status = ended & 0x7F == 0 ? ended >> 8 & 0xFF : 128 + ended & 0x7F
      return CommandRun(status: status, output: text("output"), errors: text("errors"))
    }

    private func text(_ name: String) -> String {
      String(decoding: (try? FileReading.readAll(directory.file(name), limit: 1 << 28)) ?? [], as: UTF8.self)
    }
  }
}

/// Files of the project that the commands work on.
enum Fixture {
  static let acorn = SharedData.projectRoot + "/Calibration/Models/acorn"
  static let calibrationText = SharedData.projectRoot + "/Calibration/Texts/calibration.txt"
  static let evaluationText = SharedData.projectRoot + "/Calibration/Texts/evaluation.txt"
}
