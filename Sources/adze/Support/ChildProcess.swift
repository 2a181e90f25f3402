import ArgumentParser
import Glibc
import TensorCore

/// Runs this program once more and collects what it prints.
enum ChildProcess {
  /// Standard output of `adze` with these arguments; its standard error goes where ours goes.
  /// - Throws: a diagnostic when it cannot be started or fails.
  static func output(arguments: [String]) throws -> [UInt8] {
    var ends: [Int32] = [0, 0]
    guard unsafe pipe(&ends) == 0 else { throw failure("make a pipe", errno) }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    unsafe posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO)
    var words: [UnsafeMutablePointer<CChar>?] =
      unsafe (["adze"] + arguments).map { unsafe strdup($0) } + [nil]
    defer { unsafe words.forEach { unsafe free($0) } }
    var process: pid_t = 0
    let status = unsafe posix_spawn(&process, "/proc/self/exe", &actions, nil, &words, environ)
    close(ends[1])
    guard status == 0 else {
      close(ends[0])
      throw failure("start a process", status)
    }
    let bytes = readAll(ends[0])
    close(ends[0])
    var ended: Int32 = 0
    while unsafe waitpid(process, &ended, 0) < 0, errno == EINTR {}
    guard ended == 0 else {
      try Interruption.check()
      throw ChildFailure(
        diagnostic: Diagnostic(
          code: "child.failed", status: .bug,
          message: "'adze \(arguments.joined(separator: " "))' ended with status \(ended >> 8)"))
    }
    return bytes
  }

  private static func readAll(_ descriptor: Int32) -> [UInt8] {
    var result: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = unsafe read(descriptor, &buffer, buffer.count)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { return result }
      result += buffer[..<count]
    }
  }

  private static func failure(_ operation: String, _ code: Int32) -> ChildFailure {
    ChildFailure(
      diagnostic: Diagnostic(
        code: "child.start", status: .inputOutput,
        message: "cannot \(operation): \(unsafe String(cString: strerror(code)))"))
  }
}

/// A process of ours that failed.
struct ChildFailure: DiagnosableError {
  let diagnostic: Diagnostic
}
