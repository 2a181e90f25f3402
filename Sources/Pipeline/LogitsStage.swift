import Architectures
import Execution
import Glibc
import Kernels
import OrderedCollections
import SafeIO
import Safetensors
import TensorCore

/// Computes logits for given sequences.
public struct LogitsStage {
  let model: LanguageModel
  let pool: ThreadPool

  /// Prepares the stage.
  public init(model: LanguageModel, pool: ThreadPool) {
    self.model = model
    self.pool = pool
  }

  /// Reads `input_ids` `[B, T]` from a safetensors file and computes `[B, T, vocabulary]`, each row from an empty cache.
  /// - Throws: ``PipelineError``, `ExecutionError`, `SafetensorsError`.
  public func run(inputFile: String, progress: (Double) throws -> Void = { _ in }) throws -> Tensor {
    let file = try SafetensorsFile(path: inputFile)
    guard let ids = file.tensors["input_ids"], ids.shape.rank == 2 else {
      throw PipelineError.usage(
        "\(inputFile) has no tensor input_ids of shape [B, T]",
        hint: "tensors: \(file.tensors.map { "\($0.key) \($0.value.shape)" }.joined(separator: ", "))")
    }
    let values = try ids.integers()
    let (batch, length) = (ids.shape.dimensions[0], ids.shape.dimensions[1])
    let vocabulary = model.program.outputColumns[0]
    let shape = try Shape([batch, length, vocabulary])
    let byteCount = try ElementType.f32.byteCount(elements: shape.elementCount)
    guard byteCount <= sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE)) else {
      throw PipelineError.usage(
        "the logits take \(byteCount) bytes, more than this machine's memory",
        hint: "give fewer or shorter sequences")
    }
    let session = Session(program: model.program, pool: pool)
    let region = try unsafe MemoryRegion(byteCount: byteCount) { target in
      for row in 0..<batch {
        try progress(Double(row) / Double(max(batch, 1)))
        let tokens = try values[row * length..<(row + 1) * length].map { value in
          guard let token = Int32(exactly: value) else {
            throw ExecutionError.tokenOutOfRange(token: Int(value), position: 0, vocabulary: vocabulary)
          }
          return token
        }
        session.reset()
        try unsafe session.forward(tokens, rows: 0..<length) { logits in
          let bytes = UnsafeRawBufferPointer(logits)
          guard let start = target.baseAddress, unsafe !bytes.isEmpty else { return }
          unsafe UnsafeMutableRawBufferPointer(start: start + row * bytes.count, count: bytes.count)
            .copyMemory(from: bytes)
        }
      }
    }
    return try Tensor(elementType: .f32, shape: shape, region: region)
  }
}
