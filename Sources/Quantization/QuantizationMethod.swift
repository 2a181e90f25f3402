import Codecs
import Kernels
import TensorCore

/// What a method must know of a layer's inputs.
public enum StatisticsNeed: Sendable, Comparable {
  /// Nothing.
  case none
  /// Mean square of each input, if at hand.
  case moments
  /// The full second moment.
  case hessian
  /// The second moment, and how the inputs differ from those of the unquantized model.
  case drift
}

/// Chooses the values of one weight: one axis of three, beside codec and container. A pure function of its inputs:
/// the same for any number of threads.
public protocol QuantizationMethod: Sendable {
  /// What it needs to know of the inputs.
  var need: StatisticsNeed { get }

  /// Quantizes one layer.
  /// - Throws: ``QuantizationError``.
  func solve(_ problem: LayerProblem, codec: any Codec, pool: ThreadPool) throws(QuantizationError)
    -> LayerSolution
}

/// One option of a method, as recipes and the command line name it.
public struct MethodOption: Sendable {
  /// The key.
  public let name: String
  /// Default, as text.
  public let defaultValue: String
  /// One line for people.
  public let summary: String

  /// Creates an option.
  public init(name: String, defaultValue: String, summary: String) {
    self.name = name
    self.defaultValue = defaultValue
    self.summary = summary
  }
}

/// One method that the command line and recipes know by name.
public struct MethodEntry: Sendable {
  /// Short name, such as `gptq`.
  public let name: String
  /// One line for people.
  public let summary: String
  /// Paper or other origin.
  public let source: String
  /// Its options.
  public let options: [MethodOption]
  /// Makes the method from option values given as text; unknown keys are refused before.
  let make: @Sendable (OptionReader) throws(QuantizationError) -> any QuantizationMethod
}

/// Every method; adding one is adding a folder and a row.
public enum MethodRegistry {
  /// The rows, in the order that help texts show.
  public static let entries: [MethodEntry] = [RoundToNearest.entry, GPTQ.entry]

  /// Makes the method called `name`.
  /// - Throws: ``QuantizationError/unknownMethod(_:known:)`` or ``QuantizationError/invalidOption(method:option:reason:)``.
  public static func method(
    named name: String, options: [String: String] = [:]
  ) throws(QuantizationError) -> any QuantizationMethod {
    guard let entry = entries.first(where: { $0.name == name }) else {
      throw .unknownMethod(name, known: entries.map(\.name))
    }
    return try entry.make(OptionReader(transform: name, values: options, known: entry.options))
  }
}

/// Reads option values given as text.
package struct OptionReader {
  let method: String
  let values: [String: String]

  init(method: String, values: [String: String]) {
    self.method = method
    self.values = values
  }

  /// The options of a transform or method, whose keys nobody has checked yet.
  /// - Throws: ``QuantizationError/invalidOption(method:option:reason:)``.
  package init(
    transform: String, values: [String: String], known: [MethodOption]
  ) throws(QuantizationError) {
    for key in values.keys.sorted() where !known.contains(where: { $0.name == key }) {
      throw .invalidOption(
        method: transform, option: key,
        reason: "no such option; it has \(known.map(\.name).joined(separator: ", "))")
    }
    self.init(method: transform, values: values)
  }

  func number(_ key: String, default value: Double, in range: ClosedRange<Double>) throws(QuantizationError)
    -> Double
  {
    guard let text = values[key] else { return value }
    guard let number = Double(text), range.contains(number) else {
      throw .invalidOption(
        method: method, option: key,
        reason: "'\(text)' is not a number from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  package func integer(_ key: String, default value: Int, in range: ClosedRange<Int>)
    throws(QuantizationError) -> Int
  {
    guard let text = values[key] else { return value }
    guard let number = Int(text), range.contains(number) else {
      throw .invalidOption(
        method: method, option: key,
        reason: "'\(text)' is not a whole number from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  func flag(_ key: String, default value: Bool) throws(QuantizationError) -> Bool {
    switch values[key] {
    case nil: return value
    case "true", "yes", "1": return true
    case "false", "no", "0": return false
    case let text?:
      throw .invalidOption(method: method, option: key, reason: "'\(text)' is neither true nor false")
    }
  }

  /// One of the cases of an enumeration, by its raw value.
  package func choice<Choice: RawRepresentable & CaseIterable>(
    _ key: String, default value: Choice
  ) throws(QuantizationError) -> Choice where Choice.RawValue == String {
    guard let text = values[key] else { return value }
    guard let choice = Choice(rawValue: text) else {
      throw .invalidOption(
        method: method, option: key,
        reason: "'\(text)' is none of \(Choice.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    return choice
  }

  /// What `act-order` says; nil for `auto`.
  func sequence() throws(QuantizationError) -> ColumnSequence? {
    switch values["act-order"] {
    case nil, "auto": return nil
    case "blocks": return .blocks
    default: return try flag("act-order", default: true) ? .importance : .natural
    }
  }

  func scaleSearch(default value: ScaleSearch) throws(QuantizationError) -> ScaleSearch {
    switch values["scale-search"] {
    case nil: return value
    case "extremes": return .extremes
    case "least-squares": return .standard
    case let text?:
      throw .invalidOption(
        method: method, option: "scale-search", reason: "'\(text)' is neither extremes nor least-squares")
    }
  }
}
