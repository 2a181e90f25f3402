import GraphIR

/// A rewrite of a graph that does not change what it computes.
///
/// A pass is a value with a name; ``PassRegistry`` lists all. It leaves inputs and outputs (number, order, names and
/// types) as they are, and a second run changes nothing more.
public protocol GraphPass: Sendable {
  /// The name on the command line and in tests, such as `fuse-swiglu`.
  static var name: String { get }
  /// What it does, in a sentence.
  static var summary: String { get }
  /// The pass with its standard settings.
  init()
  /// Rewrites the graph in place.
  /// - Throws: ``GraphError`` when the graph cannot be edited as planned, which is a mistake of the pass.
  func run(_ graph: inout Graph) throws(GraphError) -> PassReport
}

extension GraphPass {
  /// The name of this pass.
  public var name: String { Self.name }
}

/// What a pass did.
public struct PassReport: Sendable, Equatable {
  /// A place where the pass found the beginning of its pattern but did not rewrite.
  public struct Miss: Sendable, Equatable {
    /// Name of the value at that place.
    public let site: String
    /// Why not.
    public let reason: String
  }

  /// The pass.
  public let pass: String
  /// Names of the values where it rewrote, in order; for removals, what was removed.
  public private(set) var sites: [String] = []
  /// Where it nearly did.
  public private(set) var misses: [Miss] = []

  /// A report of a pass that has not found anything yet.
  public init(pass: String) { self.pass = pass }

  /// How often it rewrote.
  public var firedCount: Int { sites.count }
  /// Whether the graph is another one now.
  public var changed: Bool { !sites.isEmpty }

  mutating func fired(at site: String) { sites.append(site) }
  mutating func missed(at site: String, _ reason: String) { misses.append(Miss(site: site, reason: reason)) }
}
