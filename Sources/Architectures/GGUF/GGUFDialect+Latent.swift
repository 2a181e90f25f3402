import OrderedCollections
import SafeIO

/// Attention by way of a narrow vector.
///
/// Newer files tell the widths of heads by keys that end with `_mla` and hold the projection to keys and values in two tensors,
/// one transposed; older ones have whole heads under the usual keys, and one tensor. Both are read. The older form is written: it
/// keeps quantized rows to the bit, and llama.cpp reads it, though its cache is that of whole heads then.
extension GGUFDialect {
  func readLatentAttention(
    _ reader: inout ConfigurationReader, into result: inout JSONObject
  ) throws(ArchitectureError) {
    let widths = 1...1 << 15
    func width(_ key: String) throws(ArchitectureError) -> Int {
      let whole = try reader.optionalInteger(key, in: widths)
      let newer = try reader.optionalInteger(key + "_mla", in: widths)
      guard let found = newer ?? whole else {
        throw .configuration(key: reader.path(key), expected: "an integer", found: "nothing")
      }
      return found
    }
    let head = try width("attention.key_length")
    let rotated = try reader.integer("rope.dimension_count", in: widths)
    guard rotated < head else {
      throw .configuration(
        key: reader.path("rope.dimension_count"), expected: "less than the width \(head) of the heads",
        found: "\(rotated)")
    }
    result["qk_nope_head_dim"] = JSONValue(head - rotated)
    result["qk_rope_head_dim"] = JSONValue(rotated)
    result["v_head_dim"] = JSONValue(try width("attention.value_length"))
    result["kv_lora_rank"] = JSONValue(try reader.integer("attention.kv_lora_rank", in: 1...1 << 20))
    let rank = try reader.optionalInteger("attention.q_lora_rank", in: 0...1 << 20) ?? 0
    result["q_lora_rank"] = rank == 0 ? .null : JSONValue(rank)
  }

  func writeLatentAttention(
    _ latent: LatentAttention, into result: inout GGUFDescription
  ) throws(ArchitectureError) {
    let prefix = architecture + ".attention."
    result.metadata[prefix + "kv_lora_rank"] = try Self.count(latent.rank, "kv_lora_rank")
    // The loader wants the key; 0 means that there is none.
    result.metadata[prefix + "q_lora_rank"] = try Self.count(latent.queryRank ?? 0, "q_lora_rank")
  }
}
