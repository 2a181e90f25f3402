import SafeIO

/// Keys of config.json that are the same for every family.
enum ConfigurationKeys {
  /// Keys that do not change what a model computes at inference: training, bookkeeping, generation, and the
  /// `quantization_config` that whoever decoded the weights has dealt with.
  static let withoutEffect: Set<String> = [
    "adze_provenance", "_attn_implementation", "_attn_implementation_autoset", "_commit_hash",
    "_name_or_path", "architectures",
    "attention_dropout", "attn_implementation", "auto_map", "bad_words_ids", "begin_suppress_tokens",
    "bos_token_id",
    "chunk_size_feed_forward", "classifier_dropout", "dropout", "embedding_dropout", "residual_dropout",
    "aux_loss_alpha", "seq_aux", "ep_size",
    "init_std", "layerdrop", "attn_pdrop", "summary_activation", "summary_first_dropout",
    "summary_proj_to_labels", "summary_type", "summary_use_proj", "reorder_and_upcast_attn",
    "output_router_logits", "router_aux_loss_coef", "router_jitter_noise", "use_flash_attn",
    "gradient_checkpointing", "rope_parameters_type", "slow_but_exact", "attention_softmax_in_fp32",
    "cross_attention_hidden_size", "decoder_start_token_id", "diversity_penalty",
    "do_sample", "dtype", "early_stopping", "embd_pdrop", "encoder_no_repeat_ngram_size", "eos_token_id",
    "exponential_decay_length_penalty", "finetuning_task", "forced_bos_token_id", "forced_eos_token_id",
    "hidden_dropout", "id2label", "initializer_range", "is_decoder", "label2id", "length_penalty",
    "max_length",
    "max_position_embeddings", "min_length", "model_type", "no_repeat_ngram_size", "num_beam_groups",
    "num_beams",
    "num_return_sequences", "output_attentions", "output_hidden_states", "output_scores", "pad_token_id",
    "prefix",
    "pretraining_tp", "problem_type", "quantization_config", "remove_invalid_values", "repetition_penalty",
    "resid_pdrop", "return_dict", "return_dict_in_generate", "sep_token_id", "suppress_tokens",
    "task_specific_params", "temperature", "tf_legacy_loss", "tie_encoder_decoder", "tokenizer_class",
    "top_k",
    "top_p", "torch_dtype", "torchscript", "transformers_version", "typical_p", "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16", "use_cache",
  ]

  /// Keys that change the computation of some models, with the values that do not; checked for families that do not
  /// read the key themselves.
  static let neutral: [(key: String, values: [JSONValue])] = [
    ("add_cross_attention", [false]), ("is_encoder_decoder", [false]), ("pruned_heads", [.object([:])]),
    ("sliding_window", [false, 0]), ("use_sliding_window", [false]), ("partial_rotary_factor", [1]),
    ("rotary_pct", [1]), ("qk_norm", [false]), ("use_qk_norm", [false]), ("qk_layernorm", [false]),
    ("clip_qkv", []), ("attn_logit_softcapping", []), ("final_logit_softcapping", []),
    ("logits_scaling", [1]), ("use_bidirectional_attention", [false]),
    ("logit_scale", [1]), ("embedding_multiplier", [1]), ("residual_multiplier", [1]),
    ("attention_multiplier", []), ("attention_bias", [false]), ("mlp_bias", [false]),
    ("query_pre_attn_scalar", []), ("use_parallel_residual", [false]), ("parallel_attn", [false]),
    ("alibi", [false]), ("hidden_act", []), ("hidden_activation", []), ("layer_norm_eps", []),
    ("layer_norm_epsilon", []), ("rms_norm_eps", []), ("norm_eps", []),
    ("num_local_experts", [0]), ("num_experts", [0]), ("n_routed_experts", [0]),
    ("no_rope_layers", [.array([])]), ("rope_interleaved", [false]), ("rope_scaling", []),
    ("rope_parameters", []), ("rope_theta", []), ("head_dim", []), ("num_key_value_heads", []),
    ("rope_local_base_freq", []), ("attention_sink_size", [0]), ("word_embed_proj_dim", []),
    ("text_config", []), ("intermediate_size", []),
  ]

  /// Checks every key of ``neutral`` that the family did not read, and marks those without effect.
  static func checkCommon(
    _ reader: inout ConfigurationReader, family: String
  ) throws(ArchitectureError) {
    for (key, values) in neutral where !reader.isRead(key) {
      try reader.require(key, among: values, otherwise: "\(family) models with this setting are not computed")
    }
    if !reader.isRead("layer_types"), let types = reader.value("layer_types") {
      guard let list = types.arrayValue, list.allSatisfy({ $0 == "full_attention" }) else {
        throw .unsupported(
          key: reader.path("layer_types"), found: String(types.serialized().prefix(80)),
          reason: "\(family) layers other than full_attention are not computed")
      }
    }
    reader.ignore(withoutEffect)
  }
}
