import Codecs
import OrderedCollections
import TensorCore

/// The tensors of one quantized module, checked against each other.
struct MLXModule {
  let name: String
  private let arguments: MLXArguments
  private let codes: Tensor
  private let scales: Tensor
  private let biases: Tensor?

  /// - Throws: ``MLXError``.
  init(
    _ name: String, _ tensors: OrderedDictionary<String, Tensor>, _ arguments: MLXArguments
  ) throws(MLXError) {
    guard let codes = tensors[name + ".weight"], let scales = tensors[name + ".scales"] else {
      throw .tensor(name: name + ".scales", problem: "the tensor is missing", expected: nil, found: nil)
    }
    let biases = tensors[name + ".biases"]
    if arguments.mode == .affine, biases == nil {
      throw .tensor(name: name + ".biases", problem: "the tensor is missing", expected: nil, found: nil)
    }
    if arguments.mode != .affine, biases != nil {
      throw .tensor(
        name: name + ".biases", problem: "mode \(arguments.mode.rawValue) has no biases", expected: nil,
        found: nil)
    }
    self.init(name, arguments, codes, scales, biases)
    try check()
  }

  private init(
    _ name: String, _ arguments: MLXArguments, _ codes: Tensor, _ scales: Tensor, _ biases: Tensor?
  ) {
    self.name = name
    self.arguments = arguments
    self.codes = codes
    self.scales = scales
    self.biases = biases
  }

  /// Whether the module is a stack of matrices.
  var isStack: Bool { codes.shape.rank == 3 }

  private func check() throws(MLXError) {
    let shape = codes.shape.dimensions
    guard (2...3).contains(shape.count), codes.shape.elementCount > 0, codes.shape.elementCount < 1 << 44
    else {
      throw .tensor(
        name: name + ".weight", problem: "a matrix or a stack of them is needed", expected: nil,
        found: "\(codes.shape)")
    }
    let isFloating = arguments.mode == .affine
    guard isFloating ? [.f16, .bf16, .f32].contains(scales.elementType) : scales.elementType == .u8 else {
      throw .tensor(
        name: name + ".scales", problem: "scales are of another type",
        expected: isFloating ? "f16, bf16 or f32" : "u8", found: scales.elementType.name)
    }
    let columns = shape[shape.count - 1] * 32 / arguments.bits
    let expected = shape.dropLast() + [columns / arguments.groupSize]
    guard shape[shape.count - 1] * 32 % arguments.bits == 0, columns % arguments.groupSize == 0,
      scales.shape.dimensions == Array(expected)
    else {
      throw .tensor(
        name: name + ".scales",
        problem: "scales do not fit codes of \(arguments.bits) bits in groups of \(arguments.groupSize)",
        expected: "\(Array(expected))", found: "\(scales.shape)")
    }
    if let biases, biases.shape != scales.shape || biases.elementType != scales.elementType {
      throw .tensor(
        name: name + ".biases", problem: "biases differ from scales in type or shape",
        expected: "\(scales.elementType.name) \(scales.shape)",
        found: "\(biases.elementType.name) \(biases.shape)")
    }
  }

  /// One module for each matrix of a stack.
  func unstacked() throws(MLXError) -> [MLXModule] {
    do throws(TensorCoreError) {
      let (codes, scales) = (try codes.unstacked(), try scales.unstacked())
      let biases = try biases?.unstacked()
      return codes.indices.map { MLXModule(name, arguments, codes[$0], scales[$0], biases?[$0]) }
    } catch { throw MLXError(name + ".weight", error) }
  }

  /// The matrix, looking at the same bytes.
  func matrix() throws(MLXError) -> EncodedMatrix {
    let (rows, words) = (codes.shape.dimensions[0], codes.shape.dimensions[1])
    var planes: OrderedDictionary<String, Tensor> = [:]
    do throws(TensorCoreError) {
      planes["codes"] = try codes.reinterpreted(as: .u8, shape: Shape([rows, 4 * words]))
      planes["scales"] = scales
      if let biases { planes["biases"] = biases }
      if arguments.mode == .nvfp4 { planes["global_scale"] = try Tensor([Float(1)], shape: [1]) }
    } catch { throw MLXError(name + ".weight", error) }
    do throws(CodecError) {
      let codec: any Codec =
        switch arguments.mode {
        case .affine:
          try AffineCodec(
            bits: arguments.bits, groupSize: arguments.groupSize, scaleType: scales.elementType)
        case .mxfp4: MXFP4Codec()
        case .mxfp8: MXFP8Codec()
        case .nvfp4: NVFP4Codec()
        }
      return try EncodedMatrix(
        codec: codec, rows: rows, columns: 32 * words / arguments.bits, planes: planes)
    } catch { throw .codec(module: name, error) }
  }
}
