import GraphIR
import OrderedCollections

/// A rewrite of a graph that does not change what it computes.
///
/// A pass is a value with a name; ``PassRegistry`` lists all. It leaves inputs and outputs (number, order, names and
/// types) as they are, and a second run changes nothing more.
public protocol GraphPass: Sendable {
  /// The name on the command line and in tests, such as `fuse-swiglu`.
  static var name: String { get }
  /// What it does, in a sentence.
  static var summary: String { get }
  /// How near results stay to what they were.
  static var promise: PassPromise { get }
  /// The pass with its standard settings.
  init()
  /// Rewrites the graph in place.
  /// - Throws: ``GraphError`` when the graph cannot be edited as planned, which is a mistake of the pass.
  func run(_ graph: inout Graph) throws(GraphError) -> PassReport
}

extension GraphPass {
  /// The name of this pass.
  public var name: String { Self.name }
  /// Equal to the bit, unless a pass says otherwise.
  public static var promise: PassPromise { .exact }
  /// How near results stay to what they were.
  public var promise: PassPromise { Self.promise }
}

/// How near the results of a graph stay to what they were before a pass.
public enum PassPromise: Sendable, Equatable {
  /// Equal to the bit.
  case exact
  /// Within ``tolerance`` of their standard deviation: sums are rounded elsewhere.
  case close

  /// The largest difference that ``close`` allows, in standard deviations of the result.
  public static let tolerance = 1e-5

  /// The largest difference allowed, in standard deviations of the result.
  public var bound: Double { self == .exact ? 0 : Self.tolerance }
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

  /// One law of a pass that has a list of them.
  public struct Law: Sendable, Equatable {
    /// What it is.
    public let name: String
    /// How often it was applied.
    public fileprivate(set) var count: Int
  }

  /// The laws that were applied, in the order in which they first were.
  public private(set) var laws: [Law] = []

  /// Constants that it made, and how they are computed from those of the model.
  public private(set) var folds: OrderedDictionary<String, ConstantExpression> = [:]

  /// A report of a pass that has not found anything yet.
  public init(pass: String) { self.pass = pass }

  /// How often it rewrote.
  public var firedCount: Int { sites.count }
  /// Whether the graph is another one now.
  public var changed: Bool { !sites.isEmpty }

  /// Notes a place where the pass rewrote.
  /// - Parameter law: The law that it applied; nil for a pass without a list of them.
  public mutating func fired(at site: String, by law: String? = nil) {
    sites.append(site)
    guard let law else { return }
    if let known = laws.firstIndex(where: { $0.name == law }) {
      laws[known].count += 1
    } else {
      laws.append(Law(name: law, count: 1))
    }
  }
  /// Notes a constant that the pass declared.
  public mutating func folded(_ name: String, _ expression: ConstantExpression) { folds[name] = expression }
  /// Notes a place where the pass nearly did, and the first condition that did not hold.
  public mutating func missed(at site: String, _ reason: String) {
    misses.append(Miss(site: site, reason: reason))
  }
}
