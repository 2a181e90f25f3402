import Codecs
import SafeIO

extension InputQuantization {
  /// As packed files, recipes and reports have it.
  var json: JSONValue {
    var object: JSONObject = ["scheme": .string(scheme.description)]
    if let scale { object["scale"] = .number(Double(scale)) }
    if !outlierColumns.isEmpty { object["outlier_columns"] = .array(outlierColumns.map { JSONValue($0) }) }
    return .object(object)
  }

  /// Reads ``json``; nil when it is not that.
  init?(json: JSONValue) {
    guard let name = json["scheme"]?.stringValue, let scheme = ActivationScheme(name: name) else {
      return nil
    }
    self.init(scheme)
    if let value = json["scale"] {
      guard let number = value.doubleValue else { return nil }
      scale = Float(number)
    }
    guard let columns = json["outlier_columns"] else { return }
    guard let list = columns.arrayValue?.map(\.intValue), !list.contains(nil) else { return nil }
    outlierColumns = list.compactMap { $0 }
  }
}
