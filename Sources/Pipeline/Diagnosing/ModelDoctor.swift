import Kernels
import SafeIO
import TensorCore

/// One thing that is looked for.
struct DoctorCheck: Sendable {
  /// Its name, such as `zero-points`.
  let name: String
  /// One line for people.
  let summary: String
  /// Whether it runs the model, which takes longer than reading it.
  var runsModel = false
  /// Looks.
  let findings: @Sendable (DoctorSubject, ThreadPool) throws -> [Finding]
}

/// Looks a model over for what commonly goes wrong with checkpoints.
public struct ModelDoctor {
  /// The checks, in the order in which they are made; adding one is adding a row.
  static let checks: [DoctorCheck] = [
    .finiteValues, .outputHead, .groupShapes, .zeroPoints, .cacheScales, .vocabulary, .chatTemplate,
    .rotaryOrder,
  ]

  /// Name and summary of every check.
  public static var catalog: [(name: String, summary: String)] { checks.map { ($0.name, $0.summary) } }

  private let subject: DoctorSubject
  private let pool: ThreadPool
  private let checks: [DoctorCheck]

  /// Reads a model as far as that is possible.
  /// - Parameter runsModel: whether checks that run the model are made.
  /// - Throws: ``PipelineError/missing(path:)``.
  public init(path: String, runsModel: Bool = true, pool: ThreadPool) throws {
    subject = try DoctorSubject(path: path)
    self.pool = pool
    checks = Self.checks.filter { runsModel || !$0.runsModel }
  }

  /// Makes every check; the worst findings come first, otherwise the order is that of the checks.
  /// - Throws: what `progress` throws. An error inside of a check becomes a finding.
  public func run(progress: (String, Double) throws -> Void = { _, _ in }) throws -> [Finding] {
    var findings = loadFindings
    for (index, check) in checks.enumerated() {
      try progress(check.name, Double(index) / Double(checks.count))
      do {
        findings += try check.findings(subject, pool)
      } catch let error as any DiagnosableError {
        findings.append(
          Finding(
            .error, check: check.name, subject: error.diagnostic.subject, error.diagnostic.message,
            meaning: "the check could not be finished", remedy: error.diagnostic.hint ?? "mend what it names")
        )
      }
    }
    return findings.enumerated().sorted { first, second in
      let severities = (first.element.severity, second.element.severity)
      return severities.0 == severities.1 ? first.offset < second.offset : severities.0 > severities.1
    }.map(\.element)
  }

  private var loadFindings: [Finding] {
    guard let error = subject.loadError else {
      return (subject.model?.warnings ?? []).map {
        Finding(
          .note, check: "read", $0, meaning: "the model was read all the same",
          remedy: "nothing need be done if this is meant")
      }
    }
    let diagnostic = (error as? any DiagnosableError)?.diagnostic
    var message = diagnostic?.message ?? "\(error)"
    if let expected = diagnostic?.expected { message += ", expected \(expected)" }
    if let found = diagnostic?.found { message += ", found \(found)" }
    return [
      Finding(
        .error, check: "read", subject: diagnostic?.subject ?? diagnostic?.file, message,
        meaning: "the model cannot be read, so that most checks were not made",
        remedy: diagnostic?.hint ?? "mend what is named, or fetch the file again")
    ]
  }
}
