import Glibc
import Synchronization

/// A signal that asks the process to stop. Long work checks for it between steps, so that no half-written output is left.
struct Interruption: Error {
  let signal: Int32

  private static let pending = Atomic<Int32>(0)

  /// Catches SIGINT and SIGTERM; a second one ends the process at once. A closed pipe is an error, not a signal.
  static func install() {
    Glibc.signal(SIGPIPE, SIG_IGN)
    for number in [SIGINT, SIGTERM] {
      Glibc.signal(number) { number in
        let (exchanged, _) = Interruption.pending.compareExchange(
          expected: 0, desired: number, ordering: .relaxed)
        if !exchanged { _exit(128 + number) }
      }
    }
  }

  /// - Throws: an interruption when a signal has come.
  static func check() throws {
    let signal = pending.load(ordering: .relaxed)
    if signal != 0 { throw Interruption(signal: signal) }
  }
}
