"""The models that everything is tried on: the embedded one, and tiny random ones that suit every codec."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import sentencepiece
import torch
from transformers import LlamaConfig, LlamaForCausalLM

ROOT = Path(__file__).resolve().parents[2]
ACORN = ROOT / "Calibration/Models/acorn"
TEXTS = sorted((ROOT / "Calibration/Texts").glob("*.txt"))


@dataclass(frozen=True)
class Model:
    name: str
    path: Path

    @property
    def config(self) -> dict:
        return json.loads((self.path / "config.json").read_text())

    def sample_ids(self, rows: int = 2, tokens: int = 48) -> torch.Tensor:
        """Fixed ids from the whole vocabulary, after the id that begins a text."""
        generator = torch.Generator().manual_seed(7)
        ids = torch.randint(3, self.config["vocab_size"], (rows, tokens), generator=generator)
        ids[:, 0] = self.config["bos_token_id"]
        return ids


def acorn() -> Model:
    return Model("acorn", ACORN)


def tiny(work: Path) -> Model:
    """Hidden size 256, so that blocks of 256 fit, a head of its own, and the tokenizer of acorn."""
    path = work / "tiny"
    _write_llama(path, vocabulary=4096, begin=0, end=1)
    for name in ("tokenizer.json", "generation_config.json"):
        shutil.copy(ACORN / name, path / name)
    return Model("tiny", path)


def sentence_piece(work: Path, kind: str) -> Model:
    """A tiny model with a SentencePiece vocabulary (`bpe` or `unigram`) trained on the texts in the repository."""
    path = work / f"tiny-{kind}"
    _write_llama(path, vocabulary=768, begin=1, end=2)
    sentencepiece.SentencePieceTrainer.train(
        input=",".join(map(str, TEXTS)),
        model_prefix=str(path / "tokenizer"),
        model_type=kind,
        vocab_size=768,
        byte_fallback=True,
        character_coverage=0.999,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
        num_threads=1,
        input_sentence_size=4000,
        shuffle_input_sentence=False,
        max_sentence_length=20000,
        minloglevel=3,
    )
    settings = {
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "add_bos_token": True,
        "add_eos_token": False,
        "legacy": False,
    }
    (path / "tokenizer_config.json").write_text(json.dumps(settings, indent=1))
    (path / "tokenizer.vocab").unlink()
    return Model(f"tiny-{kind}", path)


def _write_llama(path: Path, vocabulary: int, begin: int, end: int):
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=begin,
        eos_token_id=end,
        tie_word_embeddings=False,
        # Wider than usual, so that logits and attention differ from token to token.
        initializer_range=0.08,
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.copy_(torch.rand_like(weight) + 0.5)
    shutil.rmtree(path, ignore_errors=True)
    model.save_pretrained(path)
