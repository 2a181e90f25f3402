/// What a family calls its tensors, without `.weight` and `.bias`. Names in a block follow the block's own prefix.
struct TensorNames {
  /// Prefix of everything but the head; checkpoints of the bare model leave it out.
  var root = "model."
  var embedding = "embed_tokens"
  /// A table of learned positions.
  var positions: String?
  /// Projections between a narrow embedding and the stream.
  var (projectIn, projectOut) = ("project_in", "project_out")
  /// A normalization of the embedding.
  var embeddingNorm: String?
  /// Blocks are numbered behind it: `layers.0.`.
  var layers = "layers."
  var finalNorm: String? = "norm"
  /// Not below the root.
  var head = "lm_head"

  var attentionNorm: String? = "input_layernorm"
  var afterAttentionNorm: String?
  var feedForwardNorm: String? = "post_attention_layernorm"
  var afterFeedForwardNorm: String?

  var attention = AttentionNames()
  var feedForward = FeedForwardNames()

  /// Projections of an attention.
  struct AttentionNames {
    var query = "self_attn.q_proj"
    var key = "self_attn.k_proj"
    var value = "self_attn.v_proj"
    /// One matrix for all three, instead of them.
    var fused: String?
    /// How its rows are ordered in the checkpoint.
    var fusedOrder = FusedOrder.queriesKeysValues
    var output = "self_attn.o_proj"
    var queryNorm = "self_attn.q_norm"
    var keyNorm = "self_attn.k_norm"
    var sinks = "self_attn.sinks"
  }

  /// Projections of a feed-forward that is not made of experts.
  struct FeedForwardNames {
    var gate = "mlp.gate_proj"
    var up = "mlp.up_proj"
    /// One matrix for gate and up, gate first, instead of them.
    var fused: String?
    var down = "mlp.down_proj"
  }

  /// Order of the rows of a matrix that makes queries, keys and values.
  enum FusedOrder {
    /// Those of all query heads, of all key heads, of all value heads.
    case queriesKeysValues
    /// For each key head: its query heads, the key head, the value head.
    case byKeyHead
  }

  /// The names below the root, with `replacement` for the root.
  func rooted(at replacement: String) -> TensorNames {
    var names = self
    names.root = replacement
    return names
  }
}
