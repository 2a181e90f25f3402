import Calibration
import Codecs
import Yams

/// Reads parts of a recipe; what is not understood is refused with its place and the nearest known key.
struct RecipeReader {
  let path: String

  func failure(_ key: String, _ problem: String, hint: String? = nil) -> PipelineError {
    .recipe(path: path, key: key, problem: problem, hint: hint)
  }

  /// A mapping whose keys are all known and there once.
  func mapping(_ node: Node, _ key: String, known: [String]) throws(PipelineError) -> [String: Node] {
    guard let mapping = node.mapping else { throw failure(key, "a mapping of keys is expected\(at(node))") }
    var result: [String: Node] = [:]
    for (name, value) in mapping {
      guard let name = name.string else { throw failure(key, "a key is not text\(at(node))") }
      guard known.contains(name) else {
        throw failure(
          key, "'\(name)' is not known here\(at(value))",
          hint: NearestName.hint(name, among: known, what: "keys"))
      }
      guard result.updateValue(value, forKey: name) == nil else {
        throw failure(key, "'\(name)' is there twice")
      }
    }
    return result
  }

  func number(_ node: Node, _ key: String, in range: ClosedRange<Double>) throws(PipelineError) -> Double {
    guard let number = node.float ?? node.int.map(Double.init), range.contains(number) else {
      throw failure(key, "a number from \(range.lowerBound) to \(range.upperBound) is expected\(at(node))")
    }
    return number
  }

  func text(_ node: Node, _ key: String) throws(PipelineError) -> String {
    guard let text = node.scalar?.string, !text.isEmpty else {
      throw failure(key, "text is expected\(at(node))")
    }
    return text
  }

  func observer(_ node: Node, _ key: String) throws(PipelineError) -> ScaleObserver {
    let name = try text(node, key)
    guard let observer = ScaleObserver(name: name) else {
      throw failure(key, "'\(name)' is not known", hint: "minmax, mse, percentile, percentile-99.9")
    }
    return observer
  }

  /// How keys and values are cached: a name, or a mapping.
  func cache(_ node: Node, _ key: String) throws(PipelineError) -> CacheRecipe {
    if node.scalar != nil { return try CacheRecipe(named: try text(node, key)) }
    let keys = try mapping(
      node, key, known: ["type", "keys", "values", "rotation", "key_scales", "recent", "observer"])
    func optional(_ name: String) throws(PipelineError) -> String? {
      try keys[name].map { node throws(PipelineError) in try text(node, "\(key).\(name)") }
    }
    guard (keys["type"] == nil) != (keys["keys"] == nil), keys["values"] == nil || keys["type"] == nil else {
      throw failure(key, "a type is needed, or one for keys and, if it is another, one for values\(at(node))")
    }
    var name = try optional(keys["type"] == nil ? "keys" : "type") ?? ""
    if let values = try optional("values") { name += "," + values }
    var recent: Int?
    if let node = keys["recent"] {
      recent = Int(try number(node, key + ".recent", in: 0...Double(KVFormat.maximumRecent)))
    }
    var observer = ScaleObserver.minmax
    if let node = keys["observer"] { observer = try self.observer(node, key + ".observer") }
    return try CacheRecipe(
      named: name, rotation: try optional("rotation"), keyScales: try optional("key_scales"), recent: recent,
      observer: observer)
  }

  /// One text, or a list of texts.
  func texts(_ node: Node, _ key: String) throws(PipelineError) -> [String] {
    guard let list = node.sequence else { return [try text(node, key)] }
    var result: [String] = []
    for item in list { result.append(try text(item, key)) }
    return result
  }

  /// Options of a method or transform; the keys are checked by whoever has them.
  func options(_ node: Node, _ key: String) throws(PipelineError) -> [String: String] {
    if node.null != nil { return [:] }
    guard let mapping = node.mapping else {
      throw failure(key, "a mapping of options is expected\(at(node))")
    }
    var result: [String: String] = [:]
    for (name, value) in mapping {
      guard let name = name.string else { throw failure(key, "a key is not text\(at(node))") }
      result[name.replacing("_", with: "-")] = try text(value, key + "." + name)
    }
    return result
  }

  /// A stage that quantizes, or a rule inside of one.
  func quantize(_ node: Node, _ key: String, isRule: Bool) throws(PipelineError) -> RecipeDocument.Quantize {
    let known = [
      "preset", "codec", "group_size", "symmetric", "scale_type", "method", "options", "targets",
      "activations",
    ]
    let keys = try mapping(node, key, known: known + (isRule ? [] : ["ignore", "rules"]))
    var part = RecipeDocument.Quantize()
    part.preset = try keys["preset"].map { node throws(PipelineError) in try text(node, key + ".preset") }
    part.codec = try keys["codec"].map { node throws(PipelineError) in try text(node, key + ".codec") }
    part.method = try keys["method"].map { node throws(PipelineError) in try text(node, key + ".method") }
    part.scaleType = try keys["scale_type"].map { node throws(PipelineError) in
      try text(node, key + ".scale_type")
    }
    part.activations = try keys["activations"].map { node throws(PipelineError) in
      try text(node, key + ".activations")
    }
    if let size = keys["group_size"] {
      part.groupSize = Int(try number(size, key + ".group_size", in: -1...16_777_216))
    }
    if let symmetric = keys["symmetric"] {
      guard let flag = symmetric.bool else {
        throw failure(key + ".symmetric", "true or false is expected\(at(symmetric))")
      }
      part.isSymmetric = flag
    }
    if let options = keys["options"] { part.options = try self.options(options, key + ".options") }
    if let targets = keys["targets"] { part.targets = try texts(targets, key + ".targets") }
    if let ignored = keys["ignore"] { part.ignored = try texts(ignored, key + ".ignore") }
    guard part.preset == nil || (part.codec == nil && part.groupSize == nil && part.isSymmetric == nil) else {
      throw failure(key, "a preset says codec, group_size and symmetric; leave those out")
    }
    guard !isRule || !part.targets.isEmpty else { throw failure(key, "a rule needs targets\(at(node))") }
    for (number, rule) in (keys["rules"]?.sequence.map { Array($0) } ?? []).enumerated() {
      part.rules.append(try quantize(rule, "\(key).rules[\(number)]", isRule: true))
    }
    return part
  }

  private func at(_ node: Node) -> String { node.mark.map { " (line \($0.line))" } ?? "" }
}
