import SafeIO
import TensorCore

/// The seven numbers at the start of a version-0 file and the sizes that follow from them.
struct Llama2CHeader {
  /// Bytes of the header.
  static let byteCount = 28
  var hiddenSize = 0
  var intermediateSize = 0
  var layerCount = 0
  var headCount = 0
  var keyValueHeadCount = 0
  var vocabularyCount = 0
  var contextLength = 0
  var hasOwnClassifier = false
  private let file: String

  var headSize: Int { hiddenSize / headCount }
  var keyValueSize: Int { headSize * keyValueHeadCount }

  init(_ reader: inout ByteReader, file: String) throws(Llama2CError) {
    self.file = file
    var fields: [Int] = []
    do throws(SafeIOError) {
      for _ in 0..<7 { fields.append(Int(try reader.readLittleEndian(Int32.self))) }
    } catch { throw .io(error) }
    if fields[0] == 0x616B_3432 { throw .version(file: file, version: fields[1]) }
    hasOwnClassifier = fields[5] < 0
    fields[5] = abs(fields[5])
    let names = ["dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len"]
    for (name, value) in zip(names, fields) where value <= 0 {
      throw .header(file: file, field: name, expected: "a positive number", found: "\(value)")
    }
    hiddenSize = fields[0]
    intermediateSize = fields[1]
    layerCount = fields[2]
    headCount = fields[3]
    keyValueHeadCount = fields[4]
    vocabularyCount = fields[5]
    contextLength = fields[6]
    try checkHeads()
  }

  private func checkHeads() throws(Llama2CError) {
    guard hiddenSize % headCount == 0, headSize % 2 == 0 else {
      throw .header(
        file: file, field: "n_heads", expected: "heads of an even size that fill dim \(hiddenSize)",
        found: "\(headCount)")
    }
    guard keyValueHeadCount <= headCount, headCount % keyValueHeadCount == 0 else {
      throw .header(
        file: file, field: "n_kv_heads", expected: "a divisor of n_heads \(headCount)",
        found: "\(keyValueHeadCount)")
    }
  }

  /// Bytes that a file with this header has.
  func fileByteCount() throws(TensorCoreError) -> Int {
    let square = try Checked.product(hiddenSize, hiddenSize)
    let attention = try Checked.sum(
      Checked.product(2, square), Checked.product([2, hiddenSize, keyValueSize]))
    let feedForward = try Checked.product([3, hiddenSize, intermediateSize])
    let layer = try Checked.sum(Checked.sum(attention, feedForward), Checked.product(2, hiddenSize))
    let embedding = try Checked.product(vocabularyCount, hiddenSize)
    let rotations = try Checked.product(contextLength, headSize)
    var elements = try Checked.sum(
      Checked.product(layerCount, layer), Checked.product(hasOwnClassifier ? 2 : 1, embedding))
    elements = try Checked.sum(elements, Checked.sum(hiddenSize, rotations))
    return try Checked.sum(Llama2CHeader.byteCount, Checked.product(4, elements))
  }

  /// The keys of a Hugging Face Llama configuration.
  var configuration: JSONValue {
    [
      "architectures": ["LlamaForCausalLM"],
      "model_type": "llama",
      "hidden_size": JSONValue(hiddenSize),
      "intermediate_size": JSONValue(intermediateSize),
      "num_hidden_layers": JSONValue(layerCount),
      "num_attention_heads": JSONValue(headCount),
      "num_key_value_heads": JSONValue(keyValueHeadCount),
      "vocab_size": JSONValue(vocabularyCount),
      "max_position_embeddings": JSONValue(contextLength),
      "rms_norm_eps": 1e-5,
      "rope_theta": 10000.0,
      "rope_interleaved": true,
      "tie_word_embeddings": .bool(!hasOwnClassifier),
      "attention_bias": false,
      "mlp_bias": false,
      "hidden_act": "silu",
      "torch_dtype": "float32",
      "bos_token_id": 1,
      "eos_token_id": 2,
    ]
  }
}
