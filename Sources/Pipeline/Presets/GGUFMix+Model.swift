import Architectures
import Codecs
import GraphIR
import OrderedCollections
import SafeIO
import TensorCore

extension GGUFMix {
  /// The type of every weight that a GGUF file of the model holds quantized, by name.
  /// - Parameter hasImportance: whether calibration will tell the inputs' mean squares.
  /// - Throws: `ArchitectureError` for models without a GGUF dialect, ``PipelineError``.
  public func types(for model: LoadedModel, hasImportance: Bool) throws -> OrderedDictionary<String, String> {
    let weights = try model.requireCheckpoint()
    let names = try GGUFNames(configuration: model.configuration, weights: WeightCatalog(weights))
    let architecture = try ModelFamily.family(of: model.configuration).ggufArchitecture ?? ""
    var stored: [(name: String, place: String, layer: Int, columns: Int)] = []
    for (name, weight) in weights
    where model.graph.constants[name] != nil && !model.derivedNames.contains(name) && weight.shape.rank >= 2 {
      guard let place = names.storedPlace(ofCheckpoint: name)?.name, Self.isQuantized(place) else { continue }
      stored.append((name, place, Self.layer(place), weight.shape.columns))
    }
    // llama-quantize counts in the order of layers; files hold the head and the embedding outside of them.
    stored.sort { ($0.layer, $0.place) < ($1.layer, $1.place) }
    let facts = facts(of: model, architecture, stored.map(\.place), hasImportance)
    var valueIndex = 0
    var counts: [String: Int] = [:]
    var seen: Set<String> = []
    var result: OrderedDictionary<String, String> = [:]
    var types: [String: String] = [:]
    for item in stored {
      let role = Role(storedName: item.place)
      if seen.insert(item.place).inserted {
        // Layers are counted by their weights, by their numbers where experts share a layer.
        let kind = "\(role)"
        let layer = facts.expertCount > 1 && !isTwoBitMix ? item.layer : counts[kind, default: 0]
        counts[kind, default: 0] += 1
        let place = Place(role: role, valueIndex: valueIndex, layer: layer, columns: item.columns)
        if role.makesValues { valueIndex += 1 }
        types[item.place] = Self.fitting(type(place, facts), columns: item.columns)
      }
      if let type = types[item.place] { result[item.name] = type }
    }
    return weights.keys.reduce(into: [:]) { ordered, name in
      if let type = result[name] { ordered[name] = type }
    }
  }

  private var isTwoBitMix: Bool { name.hasPrefix("IQ2") }

  private func facts(
    of model: LoadedModel, _ architecture: String, _ places: [String], _ hasImportance: Bool
  ) -> Model {
    let sizes = model.summary.sizes
    let experts = ["num_local_experts", "num_experts", "n_routed_experts"].compactMap {
      model.configuration[$0]?.intValue
    }.first
    return Model(
      architecture: architecture, layerCount: sizes.layerCount,
      queriesPerHead: sizes.headCount / max(sizes.kvHeadCount, 1), expertCount: max(experts ?? 1, 1),
      isTied: !places.contains("output.weight"), hasImportance: hasImportance,
      valueCount: Set(places.filter { Role(storedName: $0).makesValues }).count)
  }

  /// Matrices that llama-quantize leaves alone whatever the mix.
  private static func isQuantized(_ place: String) -> Bool {
    let kept = [
      "_norm.weight", "ffn_gate_inp.weight", "ssm_conv1d", "shortconv.conv.weight", "attn_rel_b.weight",
      "per_layer_model_proj", "altup", "laurel",
    ]
    return place.hasSuffix("weight") && !kept.contains { place.contains($0) }
      && place != "position_embd.weight"
      && place != "token_types.weight"
  }

  /// The number in `blk.3.attn_q.weight`; what lies outside of blocks comes first.
  private static func layer(_ place: String) -> Int {
    let parts = place.split(separator: ".")
    return parts.count > 2 && parts[0] == "blk" ? Int(parts[1]) ?? -1 : -1
  }
}
