"""The same text, tokenized by the peers and by adze, on directories and on GGUF files."""

from pathlib import Path
from typing import Callable

import gguf
import llama_cpp
import sentencepiece
import tokenizers

import gguf_files
import models
from models import Model
from report import Finding, Report, Subject
from tool import Adze

TEXTS = [
    "The quick brown fox doesn't jump over 13 lazy dogs; it's 1,234,567.89 times too tired.",
    "I'LL SAY: WE'RE done, they'd said, YOU'VE heard, i'm, 'tis ’twas it’s",
    "def f(x: int) -> str:\n\treturn f\"{x!r:>10}\" if x != 0 else '\\n'  # ok\n\n\nclass A:\n    pass\n",
    "for (int i = 0; i < n; ++i) { a[i] ^= 0xDEADBEEF << 3; } /* §±! */ #define X(a,b) a##b\r\n",
    "Ünïcödé: ñandú, Łódź, İstanbul, ſtraße, ﬁne, e\u0301 und é, Ａ１，Ω≈ç√∫˜µ≤≥÷",
    "Привет, мир! Как дела? Съешь ещё этих мягких французских булок 2024.",
    "こんにちは世界。今日は１２月２４日です。漢字カタカナﾊﾝｶｸ",
    "你好，世界！人工智能模型的量化与转换。龘𠮷",
    "안녕하세요 세계 여러분, 한국어 문장입니다. ᄒ\u1161ᆫ",
    "مرحبا بالعالم! هذه جملة عربية ١٢٣٤. שלום עולם",
    "नमस्ते दुनिया। क्षत्रिय ज्ञान ทดสอบภาษาไทย ಕನ್ನಡ தமிழ்",
    "🙂👍🏽👩‍👩‍👧‍👦🏳️‍🌈🇩🇪🇫🇷 1️⃣ ❤️‍🔥 🫠🦤",
    "  leading, trailing  ",
    " a  b   c    d     e\tf\t\tg\n\n\nh \n i\r\n\r\n j\u00a0k\u2003l\u3000m\u200bn\ufeffo",
    "\n",
    " ",
    "          ",
    "\t\n \r\n\u2028\u2029\u0085",
    "\u0001\u0007\u001b[31mred\u001b[0m\u007f\u0080\u009f\ufffd\uffff\U0010ffff",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "!!!???...---===***///\\\\\\|||~~~``` @#$%^&*()_+{}[]:;\"'<>,.?/",
    "https://example.org/a/b?c=d&e=%20f#g user.name+tag@mail.example",
    "0 1 12 123 1234 12345 1e-9 3.14159 ½ ² ⅷ ٣ ৪ 一二三",
    "<s> </s> <unk> <0x0A> ▁ Ġ <|begin_of_text|>not special<|end_of_text|> [INST]",
    "",
]


def check(report: Report, adze: Adze, acorn: Model):
    check_byte_level(report, adze, acorn)
    for kind in ("bpe", "unigram"):
        check_sentence_piece(report, adze, models.sentence_piece(adze.work, kind))
    check_file(report, adze, acorn)


def check_byte_level(report: Report, adze: Adze, model: Model):
    peer = tokenizers.Tokenizer.from_file(str(model.path / "tokenizer.json"))
    row(report, "tokenizer.json", "tokenizers", lambda text: peer.encode(text).ids, lambda: model.path, adze)
    written = lambda: adze.convert(model.path, "tokens", "--container", "safetensors")  # noqa: E731
    row(report, "tokenizer.json written", "tokenizers", from_folder(adze), written, adze)
    ours = lambda: adze.convert(model.path, "tokens.gguf")  # noqa: E731
    row(report, "gguf byte-level", "llama.cpp", from_llama(adze.work / "tokens.gguf"), ours, adze)
    peers = adze.work / "tokens-peer.gguf"
    peers.unlink(missing_ok=True)
    gguf_files.write(model, peers, gguf.GGMLQuantizationType.F32)
    row(report, "gguf-py byte-level", "llama.cpp", from_llama(peers), lambda: peers, adze)
    back = lambda: adze.convert(peers, "tokens", "--container", "safetensors")  # noqa: E731
    row(report, "gguf -> tokenizer.json", "tokenizers", from_folder(adze), back, adze)


def check_sentence_piece(report: Report, adze: Adze, model: Model):
    peer = sentencepiece.SentencePieceProcessor(model_file=str(model.path / "tokenizer.model"))
    plain = lambda text: peer.encode(text)  # noqa: E731
    name = model.name.removeprefix("tiny-")
    row(report, f"tokenizer.model {name}", "sentencepiece", plain, lambda: model.path, adze, special=False)
    ours = lambda: adze.convert(model.path, "tokens.gguf")  # noqa: E731
    theirs = from_llama(adze.work / "tokens.gguf", special=False)
    row(report, f"gguf SentencePiece {name}", "llama.cpp", theirs, ours, adze, special=False)
    if name == "bpe":
        # llama.cpp has no byte fallback for unigram, and no space before a text of spaces alone; GGUF is read as it reads it.
        row(report, f"gguf SentencePiece {name}", "sentencepiece", plain, ours, adze, special=False)
    back = lambda: adze.convert(adze.work / "tokens.gguf", "tokens", "--container", "safetensors")  # noqa: E731
    row(report, f"gguf SentencePiece {name} -> tokenizer.json", "tokenizers", from_folder(adze), back, adze)


def check_file(report: Report, adze: Adze, model: Model):
    """A long text in one piece."""
    peer = tokenizers.Tokenizer.from_file(str(model.path / "tokenizer.json"))
    text = (models.ROOT / "Calibration/Texts/evaluation.txt").read_text()[:200_000]

    def measure():
        return Finding(float(peer.encode(text).ids != adze.tokens(model.path, text)), note=f"{len(text)} characters")

    report.check(Subject("tokenizer.json", "", "tokenizers = adze", "tokens of a file"), measure)


def from_folder(adze: Adze) -> Callable[[str], list[int]]:
    """The tokenizer in the folder that adze writes, read anew for each text because it is written late."""
    return lambda text: tokenizers.Tokenizer.from_file(str(adze.work / "tokens" / "tokenizer.json")).encode(text).ids


def from_llama(path: Path, special: bool = True) -> Callable[[str], list[int]]:
    loaded: list[llama_cpp.Llama] = []

    def tokens(text: str) -> list[int]:
        if not loaded:
            loaded.append(llama_cpp.Llama(str(path), vocab_only=True, verbose=False))
        return loaded[0].tokenize(text.encode(), add_bos=special, special=special)

    return tokens


def row(
    report: Report,
    name: str,
    peer: str,
    theirs: Callable[[str], list[int]],
    model: Callable[[], Path],
    adze: Adze,
    special: bool = True,
):
    """The number of texts that come out differently; the first of them in the note."""
    def measure():
        path = model()
        differing = []
        for text in TEXTS:
            expected, found = theirs(text), adze.tokens(path, text, special)
            if expected != found:
                differing.append(f"{text[:40]!r}: {peer} {expected[:12]}, adze {found[:12]}")
        return Finding(len(differing), note="; ".join(differing[:1]) or f"{len(TEXTS)} texts")

    report.check(Subject(name, "", f"{peer} = adze", "texts that differ"), measure)
