import GraphIR
import Kernels
import TensorCore

/// One conversation with a program: its key and value caches and its scratch memory. Not for several threads at a time.
public final class Session {
  /// What is run.
  public let program: Program
  /// The threads that it runs on.
  public let pool: ThreadPool
  /// Tokens of the conversation.
  public private(set) var position = 0

  /// Tokens in the caches: fewer than ``position`` when what was there had to be forgotten; see ``catchUp()``.
  private var cachedCount = 0
  /// The tokens, for computing them again; empty for parts of a model, which are given more than tokens.
  private var history: [Int32] = []
  /// Length of the sequence that rotary frequencies are made for.
  private var sequenceLength = 0
  var caches: [Int: KVPages] = [:]
  /// What makes room in full caches; nil when they grow.
  let eviction: CacheEviction?
  /// Gets the number of a cache and what a run appends to it: keys and values, `[tokens, heads * dimension]` each.
  package var observeCache: ((Int, _ keys: [Float], _ values: [Float], _ tokens: Int) -> Void)?
  let workspace = Workspace()
  var arena = FloatBuffer()
  /// Queries and keys at their positions, where somebody looks into caches.
  let (turnedQueries, turnedKeys) = (FloatBuffer(), FloatBuffer())
  var outputs: [FloatBuffer]
  let rotaryTables: [RotaryTable]
  /// Codes of rows that steps make for those after them.
  let codes: [QuantizedRows]

  /// For each step, the weights that are multiplied next after it, where these are others than before it.
  private let expectations: [[ThreadPool.Expectation]?]

  /// An empty conversation.
  public init(program: Program, pool: ThreadPool) {
    self.program = program
    self.pool = pool
    outputs = program.outputColumns.map { _ in FloatBuffer() }
    rotaryTables = program.rotaryTables.map { _ in RotaryTable() }
    codes = (0..<program.codeSlots).map { _ in QuantizedRows() }
    expectations = program.expectations(pool)
    for (number, shape) in program.caches {
      caches[number] = program.makeCache(number, shape)
    }
    eviction = program.eviction.map { CacheEviction($0) }
  }

  /// Whether queries and keys are looked at on their way into caches.
  var looksIntoCaches: Bool { eviction != nil || observeCache != nil }

  /// Forgets everything.
  public func reset() { truncate(to: 0) }

  /// Forgets all but the first `count` tokens; more than there are is no change. What windows have forgotten is computed again
  /// by the next run; a part of a model, which was given more than tokens, then forgets everything instead.
  public func truncate(to count: Int) {
    let count = min(max(count, 0), position)
    if count == position, cachedCount == position { return }
    // What a policy knows of attention is of all tokens: it is gathered again.
    let canKeep =
      eviction == nil && count <= cachedCount && caches.values.allSatisfy { $0.canTruncate(to: count) }
    position = canKeep || history.count >= count ? count : 0
    history.removeLast(max(history.count - position, 0))
    truncateCaches(to: canKeep ? position : 0)
  }

  private func truncateCaches(to count: Int) {
    for cache in caches.values { cache.truncate(to: count) }
    if count == 0 { eviction?.reset() }
    cachedCount = count
  }

  /// Bytes of cached keys and values.
  public var cacheByteCount: Int { caches.values.reduce(0) { $0 + $1.byteCount } }

  /// Most tokens that a layer has forgotten to make room; 0 without a policy.
  public var evictedCount: Int { eviction?.evictedCount ?? 0 }

  /// Numbers in inputs of linear layers that were multiplied as floats beside codes, because they reached the scheme's threshold, and
  /// all numbers that were looked at.
  public var outliers: (found: Int, all: Int) { (workspace.outlierCount, workspace.outlierCandidates) }

  /// Computes again what a truncation made the caches lose, which the next run would do otherwise.
  /// - Throws: ``ExecutionError``.
  public func refill() throws { try catchUp(adding: 0) }

  /// How many of so many tokens can be run at a time; makes room for them where caches are full.
  private func chunkLength(of count: Int) -> Int {
    let wanted = min(program.options.chunkLength, count)
    return eviction?.makeRoom(for: wanted, in: caches, kernels: program.options.kernels, pool: pool) ?? wanted
  }

  /// Bytes of the arena at its largest so far.
  public var arenaByteCount: Int { arena.capacity * MemoryLayout<Float>.stride }

  /// Appends tokens and gives the logits of the rows asked for.
  ///
  /// - Parameters:
  ///   - tokens: ids in the vocabulary; cut into chunks as long as the options say.
  ///   - rows: which of `tokens` to make logits for; nil: only the last.
  ///   - body: gets `[rows, vocabulary]` float32, row-major, valid during the call.
  /// - Throws: ``ExecutionError``, or what `body` throws.
  public func forward<Result>(
    _ tokens: [Int32], rows: Range<Int>? = nil, _ body: (UnsafeBufferPointer<Float>) throws -> Result
  ) throws -> Result {
    let asked = rows ?? max(tokens.count - 1, 0)..<tokens.count
    guard asked.lowerBound >= 0, asked.upperBound <= tokens.count else {
      throw ExecutionError.rows(expected: "0..<\(tokens.count)", found: "\(asked)")
    }
    let wanted = program.options.layout.contains(.readRows) ? asked : tokens.indices
    guard program.outputColumns.count == 1, program.inputs.first?.columns == nil else {
      throw ExecutionError.input(
        "tokens", expected: "a graph from tokens to logits", found: program.graph.name)
    }
    try checkTokens(tokens)
    try catchUp(adding: tokens.count)
    outputs[0].reserve(wanted.count * program.outputColumns[0])
    var start = 0
    while start < tokens.count {
      let chunk = start..<start + chunkLength(of: tokens.count - start)
      let selected = wanted.clamped(to: chunk)
      let local = selected.lowerBound - start..<selected.upperBound - start
      try unsafe run(
        tokens: Array(tokens[chunk]), floats: [:], rows: local,
        outputRow: max(selected.lowerBound - wanted.lowerBound, 0))
      history += tokens[chunk]
      position += chunk.count
      start = chunk.upperBound
    }
    let columns = program.outputColumns[0]
    let first = (asked.lowerBound - wanted.lowerBound) * columns
    let all = unsafe outputs[0].prefix(wanted.count * columns)
    return try unsafe body(UnsafeBufferPointer(rebasing: all[first..<first + asked.count * columns]))
  }

  /// Runs a part of a model on float inputs, all rows, and gives its outputs in order.
  ///
  /// - Parameters:
  ///   - tokens: ids for inputs of integer type other than positions; their number is the number of rows.
  ///   - floats: row-major values of the float inputs by name, each `[rows, columns]`.
  ///   - body: gets the outputs, `[rows, columns]` each, valid during the call.
  /// - Throws: ``ExecutionError``, or what `body` throws.
  public func run<Result>(
    tokens: [Int32], floats: [String: UnsafeBufferPointer<Float>],
    _ body: ([UnsafeBufferPointer<Float>]) throws -> Result
  ) throws -> Result {
    try checkTokens(tokens)
    sequenceLength = position + tokens.count
    for (index, columns) in program.outputColumns.enumerated() {
      outputs[index].reserve(tokens.count * columns)
    }
    try unsafe run(tokens: tokens, floats: floats, rows: 0..<tokens.count, outputRow: 0)
    position += tokens.count
    return try unsafe body(
      program.outputColumns.indices.map {
        unsafe outputs[$0].prefix(tokens.count * program.outputColumns[$0])
      })
  }

  /// Computes again what the caches have lost: windows that were forgotten before a truncation, and everything when the
  /// sequence, `count` tokens longer, passes the length from which on rotary frequencies are others.
  private func catchUp(adding count: Int) throws {
    let limit = program.eviction?.sequenceLimit ?? .max
    let (before, after) = (sequenceLength, min(position + count, limit))
    sequenceLength = after
    let changes = program.rotaryTables.contains {
      $0.longFrequencies != nil && (before > $0.context) != (after > $0.context)
    }
    if changes {
      guard evictedCount == 0 else {
        throw ExecutionError.policy(
          program.eviction?.policy.description ?? "",
          reason:
            "the sequence passes the length from which on rotations are others, and its beginning is forgotten"
        )
      }
      truncateCaches(to: 0)
    }
    while cachedCount < position {
      let length = chunkLength(of: position - cachedCount)
      let chunk = Array(history[cachedCount..<cachedCount + length])
      let skips = program.canSelectRows && program.options.layout.contains(.readRows)
      let rows = skips ? 0..<0 : chunk.indices
      outputs[0].reserve(rows.count * program.outputColumns[0])
      try unsafe run(tokens: chunk, floats: [:], rows: rows, outputRow: 0)
    }
  }

  /// Before anything is computed, so that a session stays as it was when a token is wrong.
  private func checkTokens(_ tokens: [Int32]) throws(ExecutionError) {
    if let limit = program.positionCount, tokens.count > limit - position {
      throw .input(
        "positions", expected: "at most \(limit) tokens, for which the model has positions",
        found: "\(position + tokens.count)")
    }
    guard let vocabulary = program.vocabularyCount else { return }
    for (index, token) in tokens.enumerated() where token < 0 || Int(token) >= vocabulary {
      throw .tokenOutOfRange(token: Int(token), position: position + index, vocabulary: vocabulary)
    }
  }

  private func run(
    tokens: [Int32], floats: [String: UnsafeBufferPointer<Float>], rows: Range<Int>, outputRow: Int
  ) throws {
    guard program.canSelectRows || rows == 0..<tokens.count else {
      throw ExecutionError.rows(expected: "all \(tokens.count) rows", found: "\(rows)")
    }
    arena.reserve(program.arenaColumns * tokens.count)
    let positions = (0..<tokens.count).map { Int32(cachedCount + $0) }
    var inputs = InputTable(tokens: tokens, positions: positions)
    for (number, input) in program.inputs.enumerated() {
      guard let columns = input.columns else {
        inputs.isPositions.append(input.name == "positions")
        unsafe inputs.floats.append(nil)
        continue
      }
      guard let values = unsafe floats[input.name], values.count == tokens.count * columns else {
        throw ExecutionError.input(
          input.name, expected: "\(tokens.count) x \(columns) values",
          found: unsafe floats[input.name].map { "\($0.count)" } ?? "nothing (input \(number))")
      }
      inputs.isPositions.append(false)
      unsafe inputs.floats.append(values)
    }
    fillRotaryTables(inputs)
    perform(inputs, rows: rows, outputRow: outputRow)
    cachedCount += tokens.count
  }

  private func fillRotaryTables(_ inputs: InputTable) {
    for (table, parameters) in zip(rotaryTables, program.rotaryTables) {
      let positions = inputs.integers(parameters.positions)
      let frequencies = parameters.frequencies(sequenceLength: sequenceLength)
      unsafe positions.withUnsafeBufferPointer { positions in
        guard let start = positions.baseAddress else { return }
        unsafe table.fill(
          positions: start, count: positions.count, inverseFrequencies: frequencies,
          pairs: frequencies.count, magnitude: parameters.magnitude)
      }
    }
  }

  private func perform(_ inputs: InputTable, rows: Range<Int>, outputRow: Int) {
    let all = 0..<inputs.tokens.count
    let isExpecting = all.count <= KernelTable.fewTokens && !expectations.isEmpty
    // What another program expected of these threads.
    if !isExpecting { pool.expect([]) }
    for (index, step) in program.steps.enumerated() {
      let active = step.isAfterLastAttention ? rows : all
      guard !active.isEmpty else { continue }
      if isExpecting, let next = expectations[index] { pool.expect(next) }
      StepRunner(session: self, inputs: inputs, rows: active, selection: rows, outputRow: outputRow).run(step)
    }
  }
}

/// What a run was given, by number of the graph's input; the pointers are the caller's, valid during the run.
@safe
struct InputTable {
  let tokens: [Int32]
  let positions: [Int32]
  var isPositions: [Bool] = []
  var floats: [UnsafeBufferPointer<Float>?] = unsafe []

  init(tokens: [Int32], positions: [Int32]) {
    self.tokens = tokens
    self.positions = positions
  }

  func integers(_ number: Int) -> [Int32] { isPositions[number] ? positions : tokens }
}
