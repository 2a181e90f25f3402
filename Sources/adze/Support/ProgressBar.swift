import Evaluation
import Synchronization

/// Progress on standard error: a bar with the time left on a terminal, a plain line now and then elsewhere.
final class ProgressBar: Sendable {
  private struct Shown {
    var step = ""
    var start = ContinuousClock.now
    var last: ContinuousClock.Instant?
    var tenth = -1
  }

  private let title: String
  private let start = ContinuousClock.now
  private let shown = Mutex(Shown())

  init(_ title: String) { self.title = title }

  /// Shows how far the work is, and stops it when a signal has come.
  /// - Parameter step: the part of the work that the fraction is of, when it has several; each begins anew.
  func update(_ fraction: Double, _ detail: String = "", step: String = "") throws {
    try Interruption.check()
    let now = ContinuousClock.now
    shown.withLock { shown in
      if step != shown.step { shown = Shown(step: step, start: now) }
      let elapsed = now - shown.start
      if Console.errorIsTerminal {
        if let last = shown.last, now - last < .milliseconds(80), fraction < 1 { return }
        shown.last = now
        Console.noteInline("\r\u{1B}[K" + line(step, fraction, detail, elapsed))
      } else {
        let tenth = Int(fraction * 10)
        // Short work says nothing on the way.
        guard tenth > shown.tenth, elapsed > .seconds(3) else { return }
        shown.tenth = tenth
        Console.note(plainLine(step, fraction, detail, elapsed))
      }
    }
  }

  /// Removes the bar and says how long the work took.
  func finish(_ summary: String = "") {
    Console.finishProgress()
    let text = summary.isEmpty ? "" : ": \(summary)"
    Console.note("\(title) done in \(Self.time(ContinuousClock.now - start))\(text)")
  }

  private func line(_ step: String, _ fraction: Double, _ detail: String, _ elapsed: Duration) -> String {
    let width = 24
    let filled = Int(min(max(fraction, 0), 1) * Double(width))
    let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: width - filled)
    return
      "\(named(step)) \(bar) \(NumberFormat.fixed(fraction * 100, 0)) % \(left(fraction, elapsed)) \(detail.prefix(40))"
  }

  private func plainLine(
    _ step: String, _ fraction: Double, _ detail: String, _ elapsed: Duration
  ) -> String {
    "\(named(step)): \(NumberFormat.fixed(fraction * 100, 0)) % after \(Self.time(elapsed)), \(left(fraction, elapsed)) \(detail)"
  }

  private func named(_ step: String) -> String { step.isEmpty ? title : "\(title) \(step)" }

  private func left(_ fraction: Double, _ elapsed: Duration) -> String {
    guard fraction > 0.02 else { return "" }
    return "\(Self.time(elapsed * ((1 - fraction) / fraction))) left"
  }

  /// `850 ms`, `12.3 s` or `4 min 05 s`.
  static func time(_ duration: Duration) -> String {
    let seconds = duration / .seconds(1)
    if seconds < 1 { return "\(Int(seconds * 1000)) ms" }
    if seconds < 100 { return NumberFormat.fixed(seconds, 1) + " s" }
    let whole = Int(seconds)
    return "\(whole / 60) min \(whole % 60 < 10 ? "0" : "")\(whole % 60) s"
  }
}
