import Calibration
import Codecs
import GraphIR
import OrderedCollections
import Pipeline
import TensorCore

/// What a value of a graph is, by the interpreter.
enum ReferenceInputs {
  /// Sums of squares of each column over all tokens of all windows.
  static func squareSums(of value: ValueID, model: LoadedModel, windows: CalibrationWindows) throws
    -> [Double]
  {
    let part = try model.graph.subgraph(inputs: [], outputs: [value])
    let weights = try model.requireCheckpoint()
    var sums: [Double] = []
    for window in windows.windows {
      var inputs: [String: Tensor] = [:]
      for input in part.inputs {
        let name = part.name(of: input)
        let values = name == "positions" ? window.indices.map { Int32($0) } : window
        inputs[name] = try Tensor(values, shape: Shape([window.count]))
      }
      let result = try Interpreter.run(part, inputs: inputs) { name in
        if case .dense(let tensor)? = weights[name] { return tensor }
        throw PipelineError.weight(name, reason: "is not dense")
      }
      let columns: Int = result[0].shape.columns
      if sums.isEmpty { sums = [Double](repeating: 0, count: columns) }
      for (index, element) in try result[0].floats().enumerated() {
        sums[index % columns] += Double(element) * Double(element)
      }
    }
    return sums
  }
}
