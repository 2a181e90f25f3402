import Architectures
import Codecs
import Llama2C
import OrderedCollections
import SafeIO
import Tokenizers

extension ModelFormat {
  /// A llama2.c `.bin` (version 0) with its vocabulary beside it.
  static let llama2C = ModelFormat(
    name: "llama2.c checkpoint",
    recognises: { !FileReading.isDirectory($0) && Llama2CCheckpoint.isCheckpoint(path: $0) },
    load: { path in
      let checkpoint = try Llama2CCheckpoint.open(path)
      var weights: OrderedDictionary<String, Weight> = checkpoint.tensors.mapValues { .dense($0) }
      let imported = try ModelFamily.importModel(
        configuration: checkpoint.configuration, weights: WeightCatalog(weights))
      weights = try imported.constants(from: weights)
      return LoadedModel(
        path: path, format: "llama2.c checkpoint", files: [path], configuration: checkpoint.configuration,
        summary: ModelSummary(imported), graph: imported.graph, content: .checkpoint(weights),
        derivedNames: Set(imported.derivedConstants.keys),
        tokenizer: try vocabulary(beside: path, size: imported.configuration.vocabularySize),
        warnings: imported.warnings)
    })

  /// The first of the usual vocabulary names that lies beside the checkpoint: `tok<size>.bin`, `tokenizer.bin`.
  private static func vocabulary(beside path: String, size: Int) throws -> TokenizerSource? {
    let directory = FileReading.directory(of: path)
    for name in ["tok\(size).bin", "tokenizer.bin"] where FileReading.exists(directory + "/" + name) {
      let bytes = try FileReading.readAll(directory + "/" + name, limit: Limits.standard.maxHeaderBytes)
      return try TokenizerSource(kind: .llama2c, bytes: bytes)
    }
    return nil
  }
}
