"""Write tiny random checkpoints with the logits that Hugging Face transformers computes for them.

usage: make.py OUT_DIR [NAME ...]          needs torch, transformers, safetensors (PyPI)

Each OUT_DIR/NAME/ holds config.json and model.safetensors as save_pretrained writes them (bfloat16 weights), and
expected.safetensors: `input_ids` int64 [1, 40] and `logits` float32 [1, 40, vocab], computed in float32 from those
weights with attention in its plain form. Weights are random, scaled so that every term of the model matters.
"""
import json, os, sys, torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

LENGTH = 40
BASE = dict(vocab_size=213, hidden_size=40, intermediate_size=72, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, bos_token_id=0, eos_token_id=1, pad_token_id=None)
FACTORS = dict(rope_type="longrope", rope_theta=10000.0, original_max_position_embeddings=32,
               short_factor=[1.0, 1.1, 1.3, 1.7, 2.0], long_factor=[1.0, 1.5, 2.5, 4.0, 6.0])
LATENT = dict(num_key_value_heads=4, q_lora_rank=22, kv_lora_rank=18, qk_nope_head_dim=7, qk_rope_head_dim=6, v_head_dim=9,
              moe_intermediate_size=24, num_experts_per_tok=2)
NAMES = {
    # families
    "gemma": ("gemma", dict(head_dim=12, num_key_value_heads=1)),
    "phi": ("phi", dict(partial_rotary_factor=0.4)),
    "phi-norms": ("phi", dict(partial_rotary_factor=0.6, qk_layernorm=True, num_key_value_heads=4)),
    "olmo": ("olmo", dict(clip_qkv=0.5, pad_token_id=0)),
    "cohere": ("cohere", dict(pad_token_id=0, logit_scale=0.25)),
    "cohere-norms": ("cohere", dict(pad_token_id=0, use_qk_norm=True, attention_bias=True, tie_word_embeddings=False)),
    "glm4": ("glm4", dict(pad_token_id=0, head_dim=12)),
    "smollm3": ("smollm3", dict(num_hidden_layers=4, pad_token_id=0, no_rope_layer_interval=2)),
    "smollm3-window": ("smollm3", dict(num_hidden_layers=3, pad_token_id=0, no_rope_layers=[1, 0, 1], use_sliding_window=True,
                                       sliding_window=9)),
    "starcoder2": ("starcoder2", dict(sliding_window=11)),
    "stablelm": ("stablelm", dict(partial_rotary_factor=0.4, use_qkv_bias=True)),
    "stablelm-parallel": ("stablelm", dict(partial_rotary_factor=0.4, use_parallel_residual=True, qk_layernorm=True)),
    "falcon": ("falcon", dict(num_key_value_heads=None)),
    "falcon-new": ("falcon", dict(new_decoder_architecture=True, num_kv_heads=2, bias=True)),
    "falcon-rw": ("falcon", dict(alibi=True, multi_query=False, parallel_attn=False, bias=True)),
    "bloom": ("bloom", dict(n_layer=2, n_head=4)),
    "bloom-six-heads": ("bloom", dict(n_layer=1, n_head=6, hidden_size=48)),
    "gptj": ("gptj", dict(n_embd=40, n_layer=2, n_head=4, n_positions=64, rotary_dim=4)),
    "qwen2-moe": ("qwen2_moe", dict(num_experts=5, num_experts_per_tok=2, moe_intermediate_size=24,
                                    shared_expert_intermediate_size=40, norm_topk_prob=False)),
    "deepseek2": ("deepseek_v2", dict(LATENT, qk_nope_head_dim=8, n_routed_experts=5, n_shared_experts=2, first_k_dense_replace=1,
                                      rope_parameters=dict(rope_type="yarn", factor=4.0, rope_theta=10000.0, mscale=0.707,
                                                           mscale_all_dim=0.9, original_max_position_embeddings=16))),
    "deepseek2-groups": ("deepseek_v2", dict(LATENT, qk_nope_head_dim=8, q_lora_rank=None, n_routed_experts=6, n_shared_experts=1, num_hidden_layers=3,
                                             topk_method="group_limited_greedy", n_group=3, topk_group=2, routed_scaling_factor=1.5,
                                             attention_bias=True, mlp_bias=False)),
    "deepseek3": ("deepseek_v3", dict(LATENT, n_routed_experts=8, n_shared_experts=1, first_k_dense_replace=1, n_group=4,
                                      topk_group=2, num_nextn_predict_layers=0)),
    "deepseek3-plain": ("deepseek_v3", dict(LATENT, q_lora_rank=None, v_head_dim=18, n_routed_experts=6, n_shared_experts=2,
                                            first_k_dense_replace=0, n_group=1, topk_group=1, rope_interleave=False,
                                            norm_topk_prob=False, routed_scaling_factor=0.8, attention_bias=True,
                                            rope_parameters=dict(rope_type="yarn", factor=4.0, rope_theta=10000.0, mscale=1.0,
                                                                 mscale_all_dim=1.0, original_max_position_embeddings=16))),
    "olmo3": ("olmo3", dict(num_hidden_layers=4, sliding_window=9, pad_token_id=0, rope_parameters=dict(
        full_attention=dict(rope_type="yarn", factor=4.0, rope_theta=90000.0, original_max_position_embeddings=16),
        sliding_attention=dict(rope_type="default", rope_theta=5000.0)))),
    "seed-oss": ("seed_oss", dict(head_dim=14, attention_out_bias=True, mlp_bias=True)),
    "ernie4-5": ("ernie4_5", dict(head_dim=12)),
    "ernie4-5-bias": ("ernie4_5", dict(head_dim=10, use_bias=True, tie_word_embeddings=False, num_key_value_heads=1)),
    "glm4-moe": ("glm4_moe", dict(head_dim=12, n_routed_experts=5, moe_intermediate_size=24, num_experts_per_tok=2,
                                  attention_bias=True, num_nextn_predict_layers=0)),
    "glm4-moe-norms": ("glm4_moe", dict(head_dim=12, n_routed_experts=6, moe_intermediate_size=24, num_experts_per_tok=3,
                                        use_qk_norm=True, n_group=3, topk_group=2, first_k_dense_replace=0, n_shared_experts=2,
                                        routed_scaling_factor=1.5, norm_topk_prob=False, num_nextn_predict_layers=0)),
    "nemotron": ("nemotron", dict(hidden_size=48)),
    "nemotron-bias": ("nemotron", dict(partial_rotary_factor=0.6, attention_bias=True, mlp_bias=True, tie_word_embeddings=True,
                                       num_key_value_heads=1, norm_eps=1e-3)),
    "olmoe": ("olmoe", dict(num_key_value_heads=4, num_experts=5, num_experts_per_tok=2, pad_token_id=0)),
    "olmoe-clip": ("olmoe", dict(num_experts=4, num_experts_per_tok=3, norm_topk_prob=True, clip_qkv=0.7, attention_bias=True,
                                 tie_word_embeddings=True, num_key_value_heads=1, rms_norm_eps=1e-3, pad_token_id=0)),
    "gpt-oss": ("gpt_oss", dict(head_dim=12, num_local_experts=5, num_experts_per_tok=3, sliding_window=9,
                                rope_parameters=dict(rope_type="yarn", factor=4.0, rope_theta=150000.0, truncate=False,
                                                     original_max_position_embeddings=16))),
    "gpt-oss-plain": ("gpt_oss", dict(head_dim=10, num_hidden_layers=3, num_local_experts=4, num_experts_per_tok=4, sliding_window=7,
                                      attention_bias=False, tie_word_embeddings=True, num_key_value_heads=1, swiglu_limit=0.5,
                                      layer_types=["full_attention", "sliding_attention", "full_attention"],
                                      rope_parameters=dict(rope_type="default", rope_theta=5000.0))),
    "gpt-oss-mxfp4": ("gpt_oss", dict(hidden_size=64, intermediate_size=32, head_dim=12, num_local_experts=3, num_experts_per_tok=2,
                                      sliding_window=9, rope_parameters=dict(
                                          rope_type="yarn", factor=4.0, rope_theta=150000.0, truncate=False,
                                          original_max_position_embeddings=16))),
    # variants of families with goldens elsewhere
    "llama-odd": ("llama", dict(hidden_size=39, intermediate_size=51, head_dim=14, num_attention_heads=3, num_key_value_heads=1,
                                attention_bias=True, mlp_bias=True, vocab_size=101, tie_word_embeddings=True)),
    "llama-linear": ("llama", dict(rope_parameters=dict(rope_type="linear", factor=4.0, rope_theta=10000.0))),
    "llama-dynamic": ("llama", dict(max_position_embeddings=24,
                                    rope_parameters=dict(rope_type="dynamic", factor=3.0, rope_theta=10000.0))),
    "llama-yarn": ("llama", dict(rope_parameters=dict(rope_type="yarn", factor=4.0, rope_theta=10000.0,
                                                      original_max_position_embeddings=16))),
    "mistral-plain": ("mistral", dict(sliding_window=None, head_dim=14)),
    "qwen2-window": ("qwen2", dict(num_hidden_layers=3, use_sliding_window=True, sliding_window=7, max_window_layers=1)),
    "qwen3-bias": ("qwen3", dict(head_dim=6, attention_bias=True, num_key_value_heads=1)),
    "qwen3-moe-mixed": ("qwen3_moe", dict(num_hidden_layers=3, head_dim=10, num_experts=4, num_experts_per_tok=3,
                                          moe_intermediate_size=20, mlp_only_layers=[1], norm_topk_prob=False)),
    "phi3-long": ("phi3", dict(pad_token_id=0, rope_parameters=FACTORS, original_max_position_embeddings=32)),
    "phi3-short": ("phi3", dict(pad_token_id=0, rope_parameters=dict(FACTORS, original_max_position_embeddings=48),
                                original_max_position_embeddings=48, sliding_window=13)),
    "phi3-partial": ("phi3", dict(pad_token_id=0, rope_parameters=dict(rope_type="default", rope_theta=10000.0,
                                                                       partial_rotary_factor=0.6))),
    "gemma2-plain": ("gemma2", dict(head_dim=14, query_pre_attn_scalar=10, attn_logit_softcapping=None,
                                    final_logit_softcapping=None, sliding_window=8)),
    "gpt-neox-sequential": ("gpt_neox", dict(use_parallel_residual=False, rope_parameters=dict(
        rope_type="default", rope_theta=5000.0, partial_rotary_factor=1.0))),
    "opt-after": ("opt", dict(ffn_dim=72, word_embed_proj_dim=40, pad_token_id=1, do_layer_norm_before=False)),
    "opt-narrow": ("opt", dict(ffn_dim=72, word_embed_proj_dim=24, pad_token_id=1, do_layer_norm_before=False)),
    "cohere-one-key": ("cohere", dict(pad_token_id=0, num_key_value_heads=1, use_qk_norm=True)),
    "gpt2-by-layer": ("gpt2", dict(n_embd=40, n_layer=3, n_head=4, n_positions=40, scale_attn_by_inverse_layer_idx=True)),
    "gpt2-inner": ("gpt2", dict(n_embd=40, n_layer=2, n_head=4, n_positions=40, n_inner=50, activation_function="relu")),
}
# the older spelling of the configuration: rope_theta, rope_scaling, torch_dtype
CLASSIC = {"gemma", "cohere", "stablelm", "falcon-new", "llama-yarn", "phi3-long", "llama-dynamic", "starcoder2", "phi", "nemotron-bias",
           "olmoe-clip", "gpt-oss-mxfp4"}
# Experts in blocks, which a folder of their own in Tests/PipelineTests/Goldens holds: layouts are not read by families.
BLOCKS = {"gpt-oss-mxfp4"}
CODES = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])

# Norms add one to their gains although transformers initializes these with one.
OFFSET = {"nemotron"}


def in_blocks(values):
    """Codes and exponents of the nearest MXFP4 numbers of matrices [experts, in, out], and these numbers."""
    groups = values.float().transpose(1, 2).unflatten(-1, (-1, 32))
    exponents = torch.floor(torch.log2(groups.abs().amax(-1, keepdim=True))) - 2
    scaled = groups / torch.exp2(exponents)
    codes = (scaled.abs().unsqueeze(-1) - CODES).abs().argmin(-1)
    numbers = (CODES[codes] * scaled.sign() * torch.exp2(exponents)).flatten(-2).transpose(1, 2)
    codes = codes + 8 * (scaled < 0)
    blocks = (codes[..., 0::2] + 16 * codes[..., 1::2]).to(torch.uint8)
    return blocks.contiguous(), (exponents.squeeze(-1) + 127).to(torch.uint8).contiguous(), numbers.contiguous()


def store_blocks(where):
    """Puts the experts of a checkpoint, which MXFP4 can say, into blocks, as the loader of transformers understands them."""
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors
    tensors = load_file(f"{where}/model.safetensors")
    for key in [key for key in tensors if key.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
        values = tensors.pop(key)
        tensors[key + "_blocks"], tensors[key + "_scales"], numbers = in_blocks(values)
        theirs = convert_moe_packed_tensors(tensors[key + "_blocks"], tensors[key + "_scales"], dtype=torch.float32)
        assert torch.equal(values.float(), numbers) and torch.equal(theirs, numbers), key
    save_file(tensors, f"{where}/model.safetensors", metadata={"format": "pt"})
    config = json.load(open(f"{where}/config.json"))
    config["quantization_config"] = dict(quant_method="mxfp4", modules_to_not_convert=["model.layers.*.self_attn", "lm_head"])
    json.dump(config, open(f"{where}/config.json", "w"), indent=2)


def build(name: str, out: str) -> None:
    model_type, overrides = NAMES[name]
    settings = {k: v for k, v in {**BASE, **overrides}.items() if v is not None or k != "num_key_value_heads"}
    config = AutoConfig.for_model(model_type, **settings)
    config._attn_implementation = "eager"
    torch.manual_seed(sum(map(ord, name)))
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for key, p in model.named_parameters():
            if p.dim() >= 2 and "norm" not in key:
                gain = 0.3 if any(e in key for e in ("embed", "wte", "wpe")) else 0.6 / p.shape[-1] ** 0.5
                if any(a in key for a in ("q_proj", "k_proj", "qkv", "c_attn", "query_key_value")):
                    gain *= 2.5
                p.copy_(torch.randn_like(p) * gain)
                if name in BLOCKS and key.endswith(("experts.gate_up_proj", "experts.down_proj")):
                    p.copy_(in_blocks(p)[2])
            elif "sinks" in key:
                p.copy_(torch.randn_like(p))
            elif "bias" in key:
                p.copy_(torch.randn_like(p) * 0.1)
            else:
                start = p - 1 if model_type in OFFSET else p
                p.copy_(start + torch.randn_like(p) * 0.2)
        for key, b in model.named_buffers():
            if "correction_bias" in key:
                b.copy_(torch.randn_like(b) * 0.2)
    where = f"{out}/{name}"
    os.makedirs(where, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(where)
    # Falcon's plain form adds the biases by distance twice, once in the mask.
    form = "sdpa" if overrides.get("alibi") else "eager"
    model = AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32, attn_implementation=form).eval()
    ids = torch.randint(2, config.vocab_size, (1, LENGTH), generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        logits = model(input_ids=ids).logits.float()
    assert torch.isfinite(logits).all() and logits.std() > 0.02, name
    save_file({"input_ids": ids, "logits": logits.contiguous()}, f"{where}/expected.safetensors")
    if name in BLOCKS:
        store_blocks(where)
    if name in CLASSIC:
        path = f"{where}/config.json"
        old = json.load(open(path))
        rope = old.pop("rope_parameters")
        old["torch_dtype"] = old.pop("dtype")
        old["rope_theta"] = rope.pop("rope_theta")
        if "partial_rotary_factor" in rope:
            old["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
        if "rope_type" in rope and rope["rope_type"] in ("dynamic",):
            rope["type"] = rope.pop("rope_type")
        old["rope_scaling"] = rope if rope.get("rope_type", rope.get("type")) != "default" else None
        json.dump(old, open(path, "w"), indent=2)
    generation = f"{where}/generation_config.json"
    if os.path.exists(generation):
        os.remove(generation)
    size = sum(os.path.getsize(f"{where}/{f}") for f in os.listdir(where))
    print(f"{name:20} {model_type:12} logit std {logits.std():.3f} bytes {size}", flush=True)


if __name__ == "__main__":
    for name in sys.argv[2:] or NAMES.keys() - BLOCKS:
        try:
            build(name, sys.argv[1])
        except Exception as error:
            print(f"{name:20} FAILED {type(error).__name__}: {str(error)[:300]}", flush=True)
