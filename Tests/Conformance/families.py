"""Try random tiny models of every family: does Adze compute the logits that Hugging Face transformers computes?

usage: families.py ADZE [--variants 20] [--seed 0] [--family NAME ...] [--length TOKENS] [--keep DIR]     needs torch, transformers, safetensors (PyPI)

Each variant has sizes that no block divides, settings drawn at random among those that change the computation, and random
weights with norms far from one; its configuration is written in the newer or the older spelling. Adze runs it whole, in
chunks and token by token (`adze architectures --goldens`). Exit status 1 when a logit is further off than 1e-4 of the logits'
standard deviation, or a variant is refused or warned about.
"""
import argparse, contextlib, io, json, os, random, shutil, subprocess, sys, tempfile
import torch
from safetensors.torch import save_file
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def scaling(r, width, context, kinds=("default", "linear", "dynamic", "yarn", "longrope", "llama3")):
    """Rotary parameters of a random kind for `width` rotated columns."""
    kind = r.choice(("default",) + tuple(kinds))
    p = dict(rope_type=kind, rope_theta=r.choice([10000.0, 500000.0, 777.0]))
    if kind in ("linear", "dynamic"):
        p["factor"] = r.choice([2.0, 3.5])
    if kind == "llama3":
        p.update(factor=r.choice([4.0, 8.0]), low_freq_factor=1.0, high_freq_factor=r.choice([2.0, 4.0]),
                 original_max_position_embeddings=r.choice([16, 32]))
    if kind == "yarn":
        p.update(factor=r.choice([2.0, 4.0]), original_max_position_embeddings=16)
        if r.random() < 0.4:
            p.update(beta_fast=r.choice([8.0, 32.0]), beta_slow=r.choice([1.0, 2.0]))
        if r.random() < 0.3:
            p["attention_factor"] = 1.2
        elif r.random() < 0.4:
            p.update(mscale=1.0, mscale_all_dim=0.7)
        if r.random() < 0.3:
            p["truncate"] = False
    if kind == "longrope":
        p.update(original_max_position_embeddings=r.choice([24, 64]),
                 short_factor=[1 + 0.1 * r.random() * i for i in range(width // 2)],
                 long_factor=[1 + r.random() * i for i in range(width // 2)])
        if r.random() < 0.4:
            p["attention_factor"] = 1.1
        if r.random() < 0.4:
            p["factor"] = 2.0
    return p


def sizes(r, head=True, grouped=True):
    """Sizes that most families share."""
    heads = r.choice([2, 3, 4, 6])
    width = 2 * r.randint(3, 9)
    kv = r.choice([k for k in range(1, heads + 1) if heads % k == 0]) if grouped else heads
    hidden = heads * (r.choice([5, 9, 12, 13]) if head else width)
    s = dict(vocab_size=r.choice([101, 213, 64]), hidden_size=hidden, intermediate_size=r.choice([37, 64, 90]),
             num_hidden_layers=r.choice([1, 2, 3]), num_attention_heads=heads, num_key_value_heads=kv,
             max_position_embeddings=r.choice([64, 96]), tie_word_embeddings=r.random() < 0.5,
             bos_token_id=0, eos_token_id=1, pad_token_id=None)
    if head:
        s["head_dim"] = width
    return s, width


def flag(r):
    return r.random() < 0.5


def windows(r, count):
    return dict(sliding_window=r.choice([5, 9, 16]),
                layer_types=[r.choice(["full_attention", "sliding_attention"]) for _ in range(count)])


def llama(r):
    s, w = sizes(r)
    s.update(attention_bias=flag(r), mlp_bias=flag(r), hidden_act=r.choice(["silu", "gelu", "relu", "gelu_pytorch_tanh"]))
    s["rope_parameters"] = scaling(r, w, s["max_position_embeddings"])
    return "llama", s


def mistral(r):
    s, w = sizes(r)
    s.update(sliding_window=r.choice([None, 5, 11]), rope_parameters=scaling(r, w, 64))
    return "mistral", s


def mixtral(r):
    s, w = sizes(r, head=flag(r))
    s.update(sliding_window=r.choice([None, 7]), num_local_experts=r.choice([2, 4, 5]), num_experts_per_tok=r.choice([1, 2]))
    return "mixtral", s


def qwen2(r):
    s, w = sizes(r, head=False)
    s.update(rope_parameters=scaling(r, w, 64))
    if flag(r):
        s.update(use_sliding_window=True, **windows(r, s["num_hidden_layers"]))
        if flag(r):
            s.pop("layer_types")
            s["max_window_layers"] = r.choice([0, 1])
    return "qwen2", s


def qwen3(r):
    s, w = sizes(r)
    s.update(attention_bias=flag(r), rope_parameters=scaling(r, w, 64))
    if flag(r):
        s.update(use_sliding_window=True, **windows(r, s["num_hidden_layers"]))
    return "qwen3", s


def experts(r, s):
    count = r.choice([3, 4, 6])
    s.update(num_experts=count, num_experts_per_tok=r.randint(1, count), moe_intermediate_size=r.choice([17, 24]),
             norm_topk_prob=flag(r), decoder_sparse_step=r.choice([1, 1, 2]),
             mlp_only_layers=r.choice([[], [], [0]]))


def qwen2_moe(r):
    s, w = sizes(r, head=False)
    experts(r, s)
    s.update(shared_expert_intermediate_size=r.choice([19, 32]), qkv_bias=flag(r))
    return "qwen2_moe", s


def qwen3_moe(r):
    s, w = sizes(r)
    experts(r, s)
    s.update(attention_bias=flag(r))
    return "qwen3_moe", s


def gemma(r):
    s, w = sizes(r)
    s.update(attention_bias=flag(r), rope_parameters=scaling(r, w, 64, ("linear", "dynamic")))
    return "gemma", s


def gemma2(r):
    s, w = sizes(r)
    s.update(query_pre_attn_scalar=r.choice([7, 16, 256]), attn_logit_softcapping=r.choice([None, 3.0, 50.0]),
             final_logit_softcapping=r.choice([None, 2.0, 30.0]), attention_bias=flag(r), sliding_window=r.choice([4, 9]))
    if flag(r):
        s.update(windows(r, s["num_hidden_layers"]))
    return "gemma2", s


def gemma3(r):
    s, w = sizes(r)
    s.update(query_pre_attn_scalar=r.choice([7, 16]), attention_bias=flag(r), sliding_window=r.choice([4, 9]),
             final_logit_softcapping=r.choice([None, 5.0]))
    if flag(r):
        s.update(windows(r, s["num_hidden_layers"]))
    if flag(r):
        s["rope_parameters"] = dict(full_attention=dict(scaling(r, w, 64, ("linear",)), rope_theta=90000.0),
                                    sliding_attention=dict(rope_type="default", rope_theta=3000.0))
    return "gemma3_text", s


def phi(r):
    s, w = sizes(r, head=False)
    p = scaling(r, w, 64, ("linear",))
    p["partial_rotary_factor"] = r.choice([1.0, 0.5 if w % 4 == 0 else 1.0])
    s.update(qk_layernorm=flag(r), rope_parameters=p, hidden_act=r.choice(["gelu_new", "relu", "gelu"]))
    return "phi", s


def phi3(r):
    s, w = sizes(r, head=False)
    p = scaling(r, w, s["max_position_embeddings"], ("longrope",))
    s.update(sliding_window=r.choice([None, 7]), rope_parameters=p, pad_token_id=0,
             original_max_position_embeddings=p.get("original_max_position_embeddings", 64))
    return "phi3", s


def olmo(r):
    s, w = sizes(r, head=False)
    s.update(clip_qkv=r.choice([None, 0.4, 2.0]), attention_bias=flag(r), pad_token_id=0)
    return "olmo", s


def olmo2(r):
    s, w = sizes(r, head=False)
    s.update(attention_bias=flag(r), pad_token_id=0, rope_parameters=scaling(r, w, 64, ("linear", "yarn")))
    return "olmo2", s


def granite(r):
    s, w = sizes(r, head=False)
    s.update(attention_bias=flag(r), mlp_bias=flag(r), embedding_multiplier=r.choice([1.0, 12.0]),
             residual_multiplier=r.choice([1.0, 0.22]), attention_multiplier=r.choice([0.1, 1.0]),
             logits_scaling=r.choice([1.0, 8.0]))
    return "granite", s


def cohere(r):
    s, w = sizes(r, head=False)
    s.update(use_qk_norm=flag(r), attention_bias=flag(r), logit_scale=r.choice([0.0625, 1.0]), pad_token_id=0)
    return "cohere", s


def glm4(r):
    s, w = sizes(r)
    s.update(attention_bias=flag(r), pad_token_id=0)
    s["head_dim"] = r.choice([8, 12, 16])
    s["rope_parameters"] = dict(rope_type="default", rope_theta=5000.0, partial_rotary_factor=0.5)
    return "glm4", s


def smollm3(r):
    s, w = sizes(r, head=False)
    n = s["num_hidden_layers"]
    s.update(attention_bias=flag(r), mlp_bias=flag(r), pad_token_id=0, no_rope_layers=[r.choice([0, 1]) for _ in range(n)],
             rope_parameters=scaling(r, w, 64, ("yarn", "linear")))
    if flag(r):
        s.update(use_sliding_window=True, sliding_window=r.choice([5, 9]))
    return "smollm3", s


def starcoder2(r):
    s, w = sizes(r, head=False)
    s.update(sliding_window=r.choice([None, 7]), use_bias=flag(r), hidden_act=r.choice(["gelu_pytorch_tanh", "gelu"]))
    return "starcoder2", s


def stablelm(r):
    s, w = sizes(r, head=False)
    p = scaling(r, w, 64, ("linear", "dynamic"))
    p["partial_rotary_factor"] = r.choice([1.0, 0.5 if w % 4 == 0 else 1.0])
    s.update(use_qkv_bias=flag(r), qk_layernorm=flag(r), use_parallel_residual=flag(r), rope_parameters=p)
    return "stablelm", s


def falcon(r):
    s, w = sizes(r, head=False)
    s.pop("intermediate_size")
    kv = s.pop("num_key_value_heads")
    s.update(bias=flag(r), alibi=flag(r), ffn_hidden_size=r.choice([None, 50]))
    if flag(r):
        s.update(new_decoder_architecture=True, num_kv_heads=kv, num_ln_in_parallel_attn=r.choice([None, 1, 2]))
    else:
        s.update(multi_query=flag(r), parallel_attn=flag(r))
    return "falcon", s


def bloom(r):
    s, w = sizes(r, head=False)
    return "bloom", dict(vocab_size=s["vocab_size"], hidden_size=s["hidden_size"], n_layer=s["num_hidden_layers"],
                         n_head=s["num_attention_heads"], tie_word_embeddings=s["tie_word_embeddings"], pad_token_id=None)


def gpt2(r):
    s, w = sizes(r, head=False)
    return "gpt2", dict(vocab_size=s["vocab_size"], n_embd=s["hidden_size"], n_layer=s["num_hidden_layers"],
                        n_head=s["num_attention_heads"], n_positions=64, n_inner=r.choice([None, 50]), bos_token_id=0,
                        eos_token_id=1, tie_word_embeddings=s["tie_word_embeddings"], scale_attn_weights=flag(r), scale_attn_by_inverse_layer_idx=flag(r),
                        activation_function=r.choice(["gelu_new", "relu", "gelu"]))


def gptj(r):
    s, w = sizes(r, head=False)
    return "gptj", dict(vocab_size=s["vocab_size"], n_embd=s["hidden_size"], n_layer=s["num_hidden_layers"],
                        n_head=s["num_attention_heads"], n_positions=64, n_inner=r.choice([None, 50]), bos_token_id=0,
                        eos_token_id=1, rotary_dim=r.choice([2, w - w % 4]), tie_word_embeddings=False)


def gpt_neox(r):
    s, w = sizes(r, head=False)
    s.pop("num_key_value_heads")
    p = scaling(r, w, 64, ("linear",))
    p["partial_rotary_factor"] = r.choice([1.0, 0.5 if w % 4 == 0 else 1.0])
    s.update(use_parallel_residual=flag(r), attention_bias=flag(r), rope_parameters=p,
             hidden_act=r.choice(["gelu", "relu", "gelu_new"]))
    return "gpt_neox", s


def opt(r):
    s, w = sizes(r, head=False)
    before = flag(r)
    return "opt", dict(vocab_size=s["vocab_size"], hidden_size=s["hidden_size"], ffn_dim=50,
                       word_embed_proj_dim=r.choice([s["hidden_size"], 20]), num_hidden_layers=s["num_hidden_layers"],
                       num_attention_heads=s["num_attention_heads"], max_position_embeddings=64, do_layer_norm_before=before,
                       enable_bias=flag(r), tie_word_embeddings=s["tie_word_embeddings"], pad_token_id=1, bos_token_id=0,
                       eos_token_id=1, activation_function=r.choice(["relu", "gelu"]))


def latent(r):
    heads = r.choice([2, 4])
    s = dict(vocab_size=101, hidden_size=heads * 10, intermediate_size=37, num_hidden_layers=r.choice([2, 3]),
             num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=64, q_lora_rank=r.choice([None, 13]),
             kv_lora_rank=r.choice([12, 20]), qk_nope_head_dim=r.choice([6, 10]), qk_rope_head_dim=r.choice([4, 6]),
             v_head_dim=r.choice([5, 16, 24]), moe_intermediate_size=19, num_experts_per_tok=r.choice([1, 2]),
             n_shared_experts=r.choice([1, 2]), first_k_dense_replace=r.choice([0, 1]), routed_scaling_factor=r.choice([1.0, 1.7]),
             attention_bias=flag(r), tie_word_embeddings=flag(r), bos_token_id=0, eos_token_id=1)
    p = scaling(r, s["qk_rope_head_dim"], 64, ("yarn",))
    s["rope_parameters"] = p
    return s


def deepseek2(r):
    s = latent(r)
    s.update(n_routed_experts=6, topk_method="greedy")
    if flag(r):
        s.update(topk_method="group_limited_greedy", n_group=3, topk_group=r.choice([1, 2]))
    return "deepseek_v2", s


def deepseek3(r):
    s = latent(r)
    s.update(n_routed_experts=6, n_group=r.choice([1, 3]), topk_group=1, norm_topk_prob=flag(r), rope_interleave=flag(r),
             num_nextn_predict_layers=0)
    return "deepseek_v3", s


def olmo3(r):
    s, w = sizes(r, head=False)
    s.update(attention_bias=flag(r), pad_token_id=0, **windows(r, s["num_hidden_layers"]))
    s["rope_parameters"] = dict(full_attention=scaling(r, w, 64, ("linear", "yarn")),
                                sliding_attention=dict(rope_type="default", rope_theta=3000.0))
    return "olmo3", s


def seed_oss(r):
    s, w = sizes(r)
    s.update(attention_bias=flag(r), attention_out_bias=flag(r), mlp_bias=flag(r), rope_parameters=scaling(r, w, 64))
    return "seed_oss", s


def ernie4_5(r):
    s, w = sizes(r)
    s.update(use_bias=flag(r))
    return "ernie4_5", s


def glm4_moe(r):
    s, w = sizes(r)
    s.update(n_routed_experts=6, num_experts_per_tok=r.randint(1, 2), moe_intermediate_size=19, use_qk_norm=flag(r),
             n_group=r.choice([1, 3]), topk_group=1, first_k_dense_replace=r.choice([0, 1]), n_shared_experts=r.choice([1, 2]),
             norm_topk_prob=flag(r), routed_scaling_factor=r.choice([1.0, 1.6]), attention_bias=flag(r),
             num_nextn_predict_layers=0, head_dim=r.choice([8, 12]))
    return "glm4_moe", s


def nemotron(r):
    s, w = sizes(r)
    p = scaling(r, w, 64, ("linear", "dynamic", "yarn"))
    p["partial_rotary_factor"] = r.choice([1.0, 0.5 if w % 4 == 0 else 1.0])
    s.update(attention_bias=flag(r), mlp_bias=flag(r), norm_eps=r.choice([1e-5, 1e-3]), rope_parameters=p,
             hidden_act=r.choice(["relu2", "relu2", "gelu"]))
    return "nemotron", s


def olmoe(r):
    s, w = sizes(r, head=False)
    count = r.choice([3, 4, 6])
    s.update(num_experts=count, num_experts_per_tok=r.randint(1, count), norm_topk_prob=flag(r), clip_qkv=r.choice([None, 0.5, 1.5]),
             attention_bias=flag(r), rms_norm_eps=r.choice([1e-5, 1e-3]), pad_token_id=0, rope_parameters=scaling(r, w, 64),
             hidden_act=r.choice(["silu", "gelu"]))
    return "olmoe", s


def gpt_oss(r):
    s, w = sizes(r)
    count = r.choice([3, 4, 6])
    s.update(num_local_experts=count, num_experts_per_tok=r.randint(1, count), attention_bias=flag(r), swiglu_limit=r.choice([0.4, 1.0, 7.0]),
             rope_parameters=scaling(r, w, 64, ("yarn",)), **windows(r, s["num_hidden_layers"]))
    if flag(r):
        s.pop("layer_types")
    return "gpt_oss", s


FAMILIES = [llama, mistral, mixtral, qwen2, qwen2_moe, qwen3, qwen3_moe, gemma, gemma2, gemma3, phi, phi3, olmo, olmo2, granite,
            cohere, glm4, smollm3, starcoder2, stablelm, falcon, bloom, gpt2, gptj, gpt_neox, opt, deepseek2, deepseek3, olmo3, seed_oss,
            ernie4_5, glm4_moe, nemotron, olmoe, gpt_oss]
# Learned positions end; everything else goes well beyond windows and original contexts.
SHORT = {"gpt2", "gptj", "opt"}
# Frequencies follow the length of the sequence, so that pieces differ from the whole by definition once it is longer than
# their context; Adze then gives null.
BY_LENGTH = {"dynamic", "longrope"}


def randomize(model, generator):
    """Weights of order one in every term; norms between a half and two."""
    for key, p in list(model.named_parameters()) + [b for b in model.named_buffers() if "correction_bias" in b[0]]:
        x = torch.randn(p.shape, generator=generator)
        if p.dim() >= 2 and "norm" not in key:
            table = any(e in key for e in ("embed", "wte", "wpe"))
            p.copy_(x * (0.5 if table else 0.8 / p.shape[-1] ** 0.5))
        elif "sinks" in key:
            p.copy_(x)
        elif "bias" in key or "norm" not in key and "ln" not in key:
            p.copy_(x * 0.2)
        else:
            p.copy_(p + x.clamp(-2, 2) * 0.3)


def older(path, config_type):
    """The spelling of configurations before `rope_parameters` and `dtype`."""
    config = json.load(open(path))
    rope = config.pop("rope_parameters", None)
    config["torch_dtype"] = config.pop("dtype", "float32")
    if isinstance(rope, dict) and "full_attention" not in rope:
        config["rope_theta"] = rope.pop("rope_theta", 10000.0)
        if "partial_rotary_factor" in rope:
            config["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
            if config_type == "gpt_neox":
                config["rotary_pct"] = config.pop("partial_rotary_factor")
        if config_type == "gpt_neox":
            config["rotary_emb_base"] = config.pop("rope_theta")
        # Where nothing is said, gpt-oss is stretched.
        config["rope_scaling"] = rope if rope.get("rope_type") != "default" or config_type == "gpt_oss" else None
    elif rope is not None:
        config["rope_parameters"] = rope
    json.dump(config, open(path, "w"), indent=2)


def make(family, seed, where, tokens=None):
    r = random.Random(f"{family.__name__} {seed}")
    kind, settings = family(r)
    config = AutoConfig.for_model(kind, **settings)
    generator = torch.Generator().manual_seed(seed)
    form = "sdpa" if settings.get("alibi") else "eager"
    config._attn_implementation = form
    config._experts_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        randomize(model, generator)
    model.save_pretrained(where)
    model = AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32, attn_implementation=form,
                                                 experts_implementation="eager").eval()
    length = r.choice([30, 50]) if kind in SHORT else tokens or r.choice([30, 62, 100])
    ids = torch.randint(2, config.vocab_size, (1, length), generator=generator)
    with torch.no_grad():
        logits = model(input_ids=ids).logits.float()
    if not torch.isfinite(logits).all():
        raise ValueError("logits are not finite")
    save_file({"input_ids": ids, "logits": logits.contiguous()}, f"{where}/expected.safetensors")
    if r.random() < 0.5:
        older(f"{where}/config.json", kind)
    generation = f"{where}/generation_config.json"
    if os.path.exists(generation):
        os.remove(generation)
    return settings


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("adze")
    parser.add_argument("--variants", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--family", action="append")
    parser.add_argument("--length", type=int, help="tokens, where positions do not end (default: 30, 62 or 100)")
    parser.add_argument("--keep")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    failures = tried = impossible = 0
    for family in FAMILIES:
        if arguments.family and family.__name__ not in arguments.family:
            continue
        worst, bad = 0.0, 0
        for seed in range(arguments.seed, arguments.seed + arguments.variants):
            parent = tempfile.mkdtemp(prefix="adze-variant-")
            name = f"{family.__name__}-{seed}"
            where = f"{parent}/{name}"
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    settings = make(family, seed, where, arguments.length)
            except Exception as error:  # transformers itself refuses the combination
                impossible += 1
                print(f"  {name}: not possible with transformers: {type(error).__name__} {str(error)[:120]}")
                shutil.rmtree(parent)
                continue
            tried += 1
            run = subprocess.run([arguments.adze, "architectures", "--goldens", parent, "--json", "--threads", "1"],
                                 capture_output=True, text=True)
            inspected = subprocess.run([arguments.adze, "inspect", where], capture_output=True, text=True)
            try:
                row = json.loads(run.stdout)["goldens"][0]
            except (ValueError, IndexError, KeyError):
                row = None
            by_length = "rope_parameters" in settings and settings["rope_parameters"].get("rope_type") in BY_LENGTH
            modes = [row[m] for m in ("whole", "chunks", "tokens") if row[m] is not None or not by_length] if row else [None]
            error = float("inf") if None in modes else max(modes)
            worst = max(worst, error)
            warned = "warning" in inspected.stderr
            if error > 1e-4 or warned:
                bad += 1
                reason = f"error {error:.2e}" if row else run.stderr.strip().split("\n")[-1][:300]
                print(f"  {name}: {reason}{' ' + inspected.stderr.strip()[:200] if warned else ''}\n    {settings}", flush=True)
                if arguments.keep:
                    shutil.copytree(where, f"{arguments.keep}/{name}", dirs_exist_ok=True)
            shutil.rmtree(parent)
        failures += bad
        print(f"{family.__name__:14} largest error {worst:.1e}, {bad} of {arguments.variants} off", flush=True)
    print(f"{tried} variants, {failures} off, {impossible} not possible with transformers")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
