import SafeIO

extension GGUFDialect {
  /// Gemma.
  static let gemma = gemma("gemma", model: "gemma", class: "GemmaForCausalLM", hasHead: false)

  /// Gemma 2.
  static let gemma2: GGUFDialect = {
    var dialect = gemma("gemma2", model: "gemma2", class: "Gemma2ForCausalLM", hasHead: false)
    dialect.windows = Windows(fallback: 4096, period: 2, isComputedByPeer: true)
    dialect.entries = [
      .cap("attn_logit_softcapping", fallback: 50, \.attention.softcap),
      .cap("final_logit_softcapping", fallback: 30, \.logitSoftcap), .gemmaScale(layersOfLargest: 46),
    ]
    return dialect
  }()

  /// Gemma 3.
  static let gemma3: GGUFDialect = {
    var dialect = gemma("gemma3", model: "gemma3_text", class: "Gemma3ForCausalLM", hasHead: true)
    dialect.rotary?.localThetaKey = "rope_local_base_freq"
    dialect.windows = Windows(period: 6, isComputedByPeer: true)
    dialect.entries = [
      .cap("final_logit_softcapping", fallback: nil, \.logitSoftcap), .gemmaScale(layersOfLargest: 62),
    ]
    return dialect
  }()

  private static func gemma(
    _ architecture: String, model: String, class name: String, hasHead: Bool
  ) -> GGUFDialect {
    var dialect = GGUFDialect(
      architecture, model: model, class: name, ["hidden_activation": "gelu_pytorch_tanh"])
    dialect.flags = [("attention_bias", "blk.0.attn_q.bias")]
    dialect.refusedByLoader = { decoder in
      (decoder.attention.outputBias ? ["blk.#.attn_output.bias"] : [])
        + (decoder.isTied || hasHead ? [] : ["a head of its own"])
    }
    return dialect
  }
}

extension GGUFDialect.Entry {
  /// llama.cpp divides by caps, so that none is written as one that no value comes near, for which float32 gives the
  /// same numbers.
  private static let noCap = 0x1p60

  /// A cap; files without one mean `fallback`, nil for none.
  fileprivate static func cap(
    _ name: String, fallback: Double?, _ value: @escaping @Sendable (Decoder) -> Double
  ) -> GGUFDialect.Entry {
    .number(
      name, name,
      write: { decoder in
        let cap = value(decoder)
        return cap > 0 ? cap : fallback.map { _ in noCap }
      },
      read: { stored, _ in
        guard let cap = stored ?? fallback, cap > 0, cap < noCap / 2 else { return .null }
        return .number(cap)
      })
  }

  /// Scale of the scores. Loaders take the width of the heads, and the share of the stream for the largest model.
  fileprivate static func gemmaScale(layersOfLargest: Int) -> GGUFDialect.Entry {
    @Sendable func scalar(_ layers: Int, _ hidden: Int, _ heads: Int, _ width: Int) -> Double {
      Double(layers == layersOfLargest ? hidden / max(heads, 1) : width)
    }
    var entry = GGUFDialect.Entry.number(
      "attention.scale", "query_pre_attn_scalar",
      write: { decoder in
        let sizes = decoder.sizes
        let usual = scalar(sizes.layerCount, sizes.hiddenSize, sizes.headCount, sizes.headDimension)
        return abs(decoder.attention.scale * usual.squareRoot() - 1) < 1e-9 ? nil : decoder.attention.scale
      },
      read: { scale, result in
        func size(_ key: String) -> Int { result[key]?.intValue ?? 1 }
        guard let scale, scale != 0 else {
          return .number(
            scalar(
              size("num_hidden_layers"), size("hidden_size"), size("num_attention_heads"), size("head_dim")))
        }
        // What float32 made of a whole number is that number.
        let exact = 1 / (scale * scale)
        return .number(abs(exact - exact.rounded()) < 1e-5 * exact ? exact.rounded() : exact)
      })
    entry.isComputedByPeer = false
    return entry
  }
}
