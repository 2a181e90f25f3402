import Codecs
import Kernels

/// Runs one step on some rows: resolves places to pointers and calls the kernel.
struct StepRunner {
  let session: Session
  let inputs: InputTable
  /// Rows of the run that this step works on.
  let rows: Range<Int>
  /// Rows of the run that outputs are kept for.
  let selection: Range<Int>
  /// Row of the output buffer where the selection begins.
  let outputRow: Int

  private var kernels: KernelTable { session.program.options.kernels }
  private var pool: ThreadPool { session.pool }

  func run(_ step: Step) {
    switch step.kind {
    case .embedding(let table, let input, let offset):
      unsafe embed(table, inputs.integers(input), offset: Int32(offset), into: place(step.outputs[0]))
    case .linear(let matrix, let bias, let activation, let input):
      let (x, y) = unsafe (place(step.inputs[0]), place(step.outputs[0]))
      unsafe withOptionalPointer(bias) { bias in
        if let slot = step.roundedInput {
          let codes = session.codes[slot]
          return unsafe kernels.linear(
            codes, first: first(of: codes), matrix, bias: bias, then: activation, into: y, pool: pool)
        }
        unsafe kernels.linear(
          x, matrix, bias: bias, then: activation, into: y, activations: step.readsRounded ? .float32 : input,
          simulates: session.program.options.simulatesActivations, workspace: session.workspace, pool: pool)
      }
    case .linearGated(let matrix, let bias, let product, let input):
      let (x, y) = unsafe (place(step.inputs[0]), place(step.outputs[0]))
      unsafe withOptionalPointer(bias) { bias in
        if let slot = step.roundedInput {
          let codes = session.codes[slot]
          return unsafe kernels.linearGated(
            codes, first: first(of: codes), matrix, bias: bias, product: product, into: y,
            workspace: session.workspace, pool: pool)
        }
        unsafe kernels.linearGated(
          x, matrix, bias: bias, product: product, into: y,
          activations: step.readsRounded ? .float32 : input,
          simulates: session.program.options.simulatesActivations, workspace: session.workspace, pool: pool)
      }
    case .rope(let parameters):
      unsafe kernels.rope(
        place(step.inputs[0]), table: session.rotaryTables[parameters.table], heads: parameters.heads,
        headDimension: parameters.headDimension, isInterleaved: parameters.isInterleaved,
        into: place(step.outputs[0]),
        pool: pool)
    case .attention(let parameters): attend(step, parameters)
    case .route, .expertLinear, .expertGated, .expertBias, .expertSum: runExperts(step)
    case .rmsNorm, .layerNorm, .addRMSNorm, .addLayerNorm: normalize(step)
    default: runElementwise(step)
    }
  }

  /// The row of codes that belongs to the first row of this step: a step before the last attention made those of all rows.
  private func first(of codes: QuantizedRows) -> Int { codes.rows == rows.count ? 0 : rows.lowerBound }

  private func normalize(_ step: Step) {
    let rounding = step.rounding.map {
      RowRounding($0.input, blockLength: $0.blockLength, into: $0.slot.map { session.codes[$0] })
    }
    switch step.kind {
    case .rmsNorm(let weight, let epsilon, let heads):
      unsafe kernels.rmsNorm(
        place(step.inputs[0]), weight: weight, weightCount: weight.count, epsilon: epsilon, heads: heads,
        into: place(step.outputs[0]), rounding: rounding, pool: pool)
    case .layerNorm(let weight, let bias, let epsilon, let heads):
      unsafe withOptionalPointer(bias) { bias in
        unsafe kernels.layerNorm(
          place(step.inputs[0]), weight: weight, weightCount: weight.count, bias: bias, epsilon: epsilon,
          heads: heads, into: place(step.outputs[0]), rounding: rounding, pool: pool)
      }
    case .addRMSNorm(let weight, let epsilon):
      unsafe kernels.addRMSNorm(
        place(step.inputs[0]), place(step.inputs[1]), weight: weight, epsilon: epsilon,
        sum: place(step.outputs[0]), into: place(step.outputs[1]), rounding: rounding, pool: pool)
    case .addLayerNorm(let weight, let bias, let epsilon):
      unsafe withOptionalPointer(bias) { bias in
        unsafe kernels.addLayerNorm(
          place(step.inputs[0]), place(step.inputs[1]), weight: weight, bias: bias, epsilon: epsilon,
          sum: place(step.outputs[0]), into: place(step.outputs[1]), rounding: rounding, pool: pool)
      }
    default: preconditionFailure("not a norm")
    }
  }

  private func runExperts(_ step: Step) {
    let (x, y) = unsafe (place(step.inputs[0]), place(step.outputs[0]))
    switch step.kind {
    case .route(let options): unsafe kernels.route(x, options, into: y, pool: pool)
    case .expertLinear(let experts, let chosen, let inputs):
      unsafe kernels.expertLinear(
        x, routing: place(step.inputs[1]), experts: experts, chosen: chosen, into: y,
        activations: inputs,
        simulates: session.program.options.simulatesActivations, workspace: session.workspace, pool: pool)
    case .expertGated(let experts, let biases, let chosen, let product, let inputs):
      unsafe kernels.expertGated(
        x, routing: place(step.inputs[1]), experts: experts, biases: biases, chosen: chosen, product: product,
        into: y, activations: inputs, simulates: session.program.options.simulatesActivations,
        workspace: session.workspace, pool: pool)
    case .expertBias(let bias, let chosen):
      unsafe kernels.expertBias(
        x, routing: place(step.inputs[1]), bias: bias, chosen: chosen, into: y, pool: pool)
    case .expertSum(let chosen):
      unsafe kernels.expertSum(x, routing: place(step.inputs[1]), chosen: chosen, into: y, pool: pool)
    default: preconditionFailure("not an operation on experts")
    }
  }

  private func runElementwise(_ step: Step) {
    let (x, y) = unsafe (place(step.inputs[0]), place(step.outputs[0]))
    switch step.kind {
    case .add: unsafe kernels.add(x, place(step.inputs[1]), into: y, pool: pool)
    case .multiply: unsafe kernels.multiply(x, place(step.inputs[1]), into: y, pool: pool)
    case .scaleRows: unsafe kernels.scaleRows(x, by: place(step.inputs[1]), into: y, pool: pool)
    case .gated(let product):
      unsafe kernels.gatedProduct(gate: x, up: place(step.inputs[1]), product, into: y, pool: pool)
    case .scale(let factor): unsafe kernels.scale(x, by: factor, into: y, pool: pool)
    case .silu: unsafe kernels.silu(x, into: y, pool: pool)
    case .relu: unsafe kernels.relu(x, into: y, pool: pool)
    case .sigmoid: unsafe kernels.sigmoid(x, into: y, pool: pool)
    case .gelu(let kind): unsafe kernels.gelu(x, kind, into: y, pool: pool)
    case .clamp(let low, let high): unsafe kernels.clamp(x, low, high, into: y, pool: pool)
    case .softcap(let cap): unsafe kernels.softcap(x, cap: cap, into: y, pool: pool)
    case .hadamard(let block): unsafe kernels.hadamard(x, block: block, into: y, pool: pool)
    case .copy: unsafe copy(x, y)
    case .joinHeads(let heads, let isShared):
      unsafe joinHeads(x, place(step.inputs[1]), heads: heads, isShared: isShared, into: y)
    default: preconditionFailure("every operation has a step")
    }
  }

  /// The rows of a value that this step works on, or other ones.
  private func place(_ location: MemoryPlan.Location, _ chosen: Range<Int>? = nil) -> Rows {
    let base: UnsafeMutablePointer<Float>
    let rows = chosen ?? rows
    var first = rows.lowerBound
    switch location.space {
    case .arena(let offset): unsafe base = session.arena.start + offset * inputs.tokens.count
    case .input(let number):
      guard let values = unsafe inputs.floats[number]?.baseAddress else {
        preconditionFailure("inputs were checked")
      }
      // Inputs are never an output of a step: MemoryPlan does not let any operation overwrite them.
      unsafe base = UnsafeMutablePointer(mutating: values)
    case .output(let number):
      unsafe base = session.outputs[number].start
      first = outputRow + rows.lowerBound - selection.lowerBound
    }
    return unsafe Rows(
      base + first * location.stride + location.column, rows: rows.count, columns: location.columns,
      stride: location.stride)
  }

  private func embed(_ table: PanelMatrix, _ tokens: [Int32], offset: Int32, into output: Rows) {
    let ids = offset == 0 ? tokens : tokens.map { $0 + offset }
    unsafe ids.withUnsafeBufferPointer { ids in
      guard let start = ids.baseAddress else { return }
      unsafe kernels.embedding(start + rows.lowerBound, count: rows.count, table, into: output, pool: pool)
    }
  }

  private func attend(_ step: Step, _ parameters: Step.AttentionParameters) {
    guard let cache = session.caches[parameters.cache] else {
      preconditionFailure("caches were made with the session")
    }
    var rotary = parameters.rotary.map {
      RotaryHeads(session.rotaryTables[$0.table], isInterleaved: $0.isInterleaved)
    }
    var (queries, keys) = unsafe (place(step.inputs[0]), place(step.inputs[1]))
    let values = unsafe place(step.inputs[2])
    if let turning = parameters.rotary, session.looksIntoCaches {
      // Who looks sees queries and keys as they are multiplied.
      unsafe queries = turned(queries, turning, heads: parameters.heads, into: session.turnedQueries)
      unsafe keys = turned(keys, turning, heads: parameters.keyValueHeads, into: session.turnedKeys)
      rotary = nil
    }
    if let observe = session.observeCache {
      unsafe observe(parameters.cache, numbers(keys), numbers(values), keys.rows)
    }
    unsafe kernels.appendKV(
      k: keys, v: values, to: cache, rotary: rotary.map { ($0, session.workspace) }, pool: pool)
    unsafe session.eviction?.observe(
      parameters.cache, keys: keys, queries: queries, cache: cache, kernels: kernels, pool: pool)
    // The kernel takes the last rows of the sequence; what nobody reads is left out where that allows it.
    let readsLast = step.isLastAttention && selection.upperBound == rows.upperBound
    let asking = selection.isEmpty && step.isLastAttention ? 0..<0 : readsLast ? selection : rows
    guard !asking.isEmpty else { return }
    unsafe withOptionalPointer(parameters.slopes) { slopes in
      unsafe withOptionalPointer(parameters.sinks) { sinks in
        unsafe kernels.attention(
          queries.rows(asking.lowerBound - rows.lowerBound..<asking.upperBound - rows.lowerBound),
          cache: cache, heads: parameters.heads, scale: parameters.scale,
          window: parameters.window, softcap: parameters.softcap, slopes: slopes, sinks: sinks,
          rotary: rotary, into: place(step.outputs[0], asking), workspace: session.workspace, pool: pool)
      }
    }
  }

  /// Rows turned to their positions, in memory of the session.
  private func turned(
    _ x: Rows, _ parameters: Step.RopeParameters, heads: Int, into buffer: FloatBuffer
  ) -> Rows {
    unsafe buffer.reserve(x.rows * x.columns)
    let y = unsafe Rows(buffer.start, rows: x.rows, columns: x.columns)
    unsafe kernels.rope(
      x, table: session.rotaryTables[parameters.table], heads: heads,
      headDimension: parameters.headDimension, isInterleaved: parameters.isInterleaved, into: y, pool: pool)
    return unsafe y
  }

  private func numbers(_ rows: Rows) -> [Float] {
    unsafe (0..<rows.rows).flatMap { unsafe UnsafeBufferPointer(start: rows[$0], count: rows.columns) }
  }

  private func joinHeads(_ x: Rows, _ y: Rows, heads: Int, isShared: Bool, into z: Rows) {
    let first = unsafe isShared ? x.columns : x.columns / heads
    let second = unsafe y.columns / heads
    for row in unsafe 0..<z.rows {
      for head in 0..<heads {
        let target = unsafe z[row] + head * (first + second)
        unsafe target.update(from: x[row] + (isShared ? 0 : head * first), count: first)
        unsafe (target + first).update(from: y[row] + head * second, count: second)
      }
    }
  }

  private func copy(_ source: Rows, _ target: Rows) {
    for row in unsafe 0..<source.rows {
      unsafe (target.pointer + row * target.stride).update(
        from: source.pointer + row * source.stride, count: source.columns)
    }
  }

  private func withOptionalPointer(_ values: [Float]?, _ body: (UnsafePointer<Float>?) -> Void) {
    guard let values else { return body(nil) }
    unsafe values.withUnsafeBufferPointer { unsafe body($0.baseAddress) }
  }
}
