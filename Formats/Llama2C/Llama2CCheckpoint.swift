import OrderedCollections
import SafeIO
import TensorCore

/// A model as llama2.c stores it (version 0), under the names that Hugging Face uses for Llama.
public struct Llama2CCheckpoint: Sendable {
  /// Where it was read from.
  public let path: String
  /// A configuration with the keys of a Hugging Face Llama. Rows of the query and key projections are in interleaved
  /// rotation order, which the extra key `rope_interleaved` says.
  public let configuration: JSONValue
  /// The weights, float32, `[out, in]`, as views of the mapped file.
  public let tensors: OrderedDictionary<String, Tensor>

  /// Maps a file and checks header and size; the weights are not touched.
  /// - Throws: ``Llama2CError``.
  public static func open(_ path: String) throws(Llama2CError) -> Llama2CCheckpoint {
    let region: MemoryRegion
    do throws(SafeIOError) { region = try MappedFile.open(path) } catch { throw .io(error) }
    return try Llama2CCheckpoint(region: region, path: path)
  }

  /// Whether the file begins with a plausible header and has the size that it gives.
  public static func isCheckpoint(path: String) -> Bool {
    guard let region = try? MappedFile.open(path) else { return false }
    var reader = ByteReader(region, file: path)
    guard let header = try? Llama2CHeader(&reader, file: path) else { return false }
    return (try? header.fileByteCount()) == region.byteCount
  }

  /// Looks at a file that is in memory already.
  /// - Throws: ``Llama2CError``.
  public init(region: MemoryRegion, path: String) throws(Llama2CError) {
    var reader = ByteReader(region, file: path)
    let header = try Llama2CHeader(&reader, file: path)
    let expected: Int
    do throws(TensorCoreError) { expected = try header.fileByteCount() } catch {
      throw .header(file: path, field: "sizes", expected: "sizes in range", found: error.diagnostic.message)
    }
    guard expected == region.byteCount else {
      throw .size(file: path, expected: expected, found: region.byteCount)
    }
    do throws(TensorCoreError) { tensors = try Llama2CCheckpoint.tensors(header, region) } catch {
      throw .header(file: path, field: "sizes", expected: "sizes in range", found: error.diagnostic.message)
    }
    self.path = path
    self.configuration = header.configuration
  }

  /// Weights lie kind by kind, each kind for all layers in turn.
  private static func tensors(
    _ header: Llama2CHeader, _ region: MemoryRegion
  ) throws(TensorCoreError) -> OrderedDictionary<String, Tensor> {
    var offset = Llama2CHeader.byteCount
    func next(_ dimensions: [Int]) throws(TensorCoreError) -> Tensor {
      let tensor = try Tensor(elementType: .f32, shape: Shape(dimensions), region: region, byteOffset: offset)
      offset += tensor.byteCount
      return tensor
    }
    let hidden = header.hiddenSize
    let intermediate = header.intermediateSize
    let kinds: [(name: String, dimensions: [Int])] = [
      ("input_layernorm", [hidden]),
      ("self_attn.q_proj", [hidden, hidden]),
      ("self_attn.k_proj", [header.keyValueSize, hidden]),
      ("self_attn.v_proj", [header.keyValueSize, hidden]),
      ("self_attn.o_proj", [hidden, hidden]),
      ("post_attention_layernorm", [hidden]),
      ("mlp.gate_proj", [intermediate, hidden]),
      ("mlp.down_proj", [hidden, intermediate]),
      ("mlp.up_proj", [intermediate, hidden]),
    ]
    var found: [String: Tensor] = [:]
    var result: OrderedDictionary<String, Tensor> = [:]
    result["model.embed_tokens.weight"] = try next([header.vocabularyCount, hidden])
    for kind in kinds {
      for layer in 0..<header.layerCount { found["\(layer).\(kind.name)"] = try next(kind.dimensions) }
    }
    for layer in 0..<header.layerCount {
      for kind in kinds {
        result["model.layers.\(layer).\(kind.name).weight"] = found["\(layer).\(kind.name)"]
      }
    }
    result["model.norm.weight"] = try next([hidden])
    // Two tables of cosines and sines follow, which today's llama2.c computes itself.
    offset += 4 * header.contextLength * header.headSize
    if header.hasOwnClassifier { result["lm_head.weight"] = try next([header.vocabularyCount, hidden]) }
    return result
  }
}
