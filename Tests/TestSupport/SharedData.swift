import Glibc

/// Reference data that lies beside the project and is not part of it.
public enum SharedData {
  /// Root of the project, found from where this file lies.
  public static let projectRoot: String = {
    let file = #filePath
    return file.split(separator: "/", omittingEmptySubsequences: false).dropLast(3).joined(separator: "/")
  }()

  /// The folder with reference models and corpora: `$ADZE_SHARED`, else `../shared` beside the project; nil when absent.
  public static let root: String? = {
    let candidates = [
      unsafe getenv("ADZE_SHARED").map { unsafe String(cString: $0) }, projectRoot + "/../shared",
    ]
    return candidates.compactMap { $0 }.first { unsafe access($0 + "/models", R_OK) == 0 }
  }()

  /// Whether the reference data is here; tests that need it are disabled otherwise.
  public static var isAvailable: Bool { root != nil }

  /// A path in the reference data.
  public static func path(_ relative: String) -> String { (root ?? "missing-shared-data") + "/" + relative }
}
