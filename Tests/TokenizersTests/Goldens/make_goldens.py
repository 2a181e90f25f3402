"""Makes the goldens of TokenizersTests with the Python package `tokenizers`, which defines what ids are right.

Made with tokenizers 0.23.3, Python 3.11, seed 1. Usage: python make_goldens.py   (writes beside itself)
             python make_goldens.py fuzz FILE.tokenizer.json COUNT SEED > cases.json     (for differential tests by hand)
             python make_goldens.py counts TOKENIZER.json TEXT...                         (count and FNV-1a hash of ids)

Each golden is a tokenizer trained here on the text below, and cases: text, ids with and without special tokens, and what
the ids decode to.
"""
import json
import os
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")

TRAINING = """The quick brown fox jumps over the lazy dog. She wasn't sure that they'd come; we'll see, I'm told you've won.
In 1984 there were 365 days and 12 months, 3.14159 times 2 is 6.28318. "Quoted text," he said - and left.
def main(argument):\n    for index in range(100):\n        print(index, argument)\n    return 0\n
Grüße aus München, où l'été est très doux; el niño comió piñas. Привет, мир! Здравствуй. Γειά σου Κόσμε.
مرحبا بالعالم كيف حالك שלום עולם नमस्ते दुनिया 你好，世界。今天天气很好。こんにちは世界 안녕하세요 세계
the the the there then them these those that this thing things nothing something anything everything
ing ing ing tion tion tion ation ations er ers est ness less ful able ible 🙂🙂👍👍🏽 👩‍👩‍👧‍👦 👩‍👩‍👧‍👦
"""

TEXTS = [
    "", " ", "  ", "\n", "\r\n", "\t", "a", "The quick brown fox.", " leading", "trailing ", "two  spaces", "   three before",
    "tabs\t\tand\nlines\r\n\r\nmixed \n \n end", "   \n   \n", "a\n\n\nb", "a \n b", "\u00a0nbsp\u00a0", "\u3000ideographic\u3000space",
    "I'm you're he's we've they'd it'll can't", "I'M YOU'RE HE'S WE'VE THEY'D IT'LL CAN'T", "'\u017ft '\u017f 'S 's's ''s '", "don’t won’t",
    "'tis 'twas o'clock 'rest 'veil 'llama", "0 1 12 123 1234 12345 123456 1234567", "3.14159, 1,000,000; 50%", "x2y3z 1a2b",
    "½ ² Ⅳ ٣٤٥٦ १२३४ ①②③④", "é e\u0301 \u0301 a\u0300\u0301\u0302\u0303", "Grüße Straße ẞ İ ı ﬁ", "Привет мир", "Γειά σου Κόσμε ς σ",
    "مرحبا بالعالم، كيف حالك؟", "שלום עולם", "नमस्ते दुनिया", "你好，世界。今天天气很好", "こんにちは世界ー々", "안녕하세요 세계", "ไทยไม่มีช่องว่าง",
    "🙂 👍🏽 👩‍👩‍👧‍👦 🇩🇪🇫🇷 ❤️", "a🙂b 🙂🙂 !🙂", "\u200b\u200c\u200d\ufeff\u2060", "\x00\x01\x02\x1f\x7f", "\u0085\u2028\u2029", "\ufffd\ufffe\uffff",
    "\U00010000\U0010ffff\U000e0001", "<|begin_of_text|>hello<|end_of_text|>", "a <|end_of_text|> b", "<|end_of_text", "<|begin_of_text|><|begin_of_text|>",
    "<pad> [NL]x[NL] word sword words word", "keep  <left>  keep  <right>  keep <both> \n<both>  <both>x", "<left><right><left>",
    "Word [word] _word word_ word1 1word éword wordé word", "aab aabb aabbb abb", "if (x != y) { return a->b[0] += 1; } // done\n\n\n",
    "https://example.org/path?q=1&r=%20#x", "....!!!???---___***", ". . . ! ?", "(a) [b] {c} <d>", "CamelCaseWordsAndSHOUTING", "a" * 70, "the" * 40,
    " " * 50, "\n" * 50, "\n " * 20, "\u0301" * 40, "1" * 50, "ab " * 30, "'" * 30, "🙂" * 20, "▁ ▁▁ a▁b", "x\u2009y\u202fz\u205f", "_ __ _a a_ $1",
]


def save(name, tokenizer, extra=()):
    path = os.path.join(HERE, name + ".tokenizer.json")
    tokenizer.save(path, pretty=False)
    tokenizer = Tokenizer.from_file(path)
    cases = []
    for text in list(TEXTS) + list(extra):
        ids = tokenizer.encode(text).ids
        plain = tokenizer.encode(text, add_special_tokens=False).ids
        tokenizer.encode_special_tokens = True
        literal = tokenizer.encode(text, add_special_tokens=False).ids
        tokenizer.encode_special_tokens = False
        cases.append({"text": text, "ids": ids, "plain": plain, "literal": literal,
                      "decoded": tokenizer.decode(ids), "all": tokenizer.decode(ids, skip_special_tokens=False)})
    with open(os.path.join(HERE, name + ".cases.json"), "w", encoding="utf-8") as file:
        file.write("[\n" + ",\n".join(json.dumps(case, ensure_ascii=True) for case in cases) + "\n]\n")
    print(name, tokenizer.get_vocab_size(), len(cases))


ADDED = [AddedToken("[NL]", normalized=False), AddedToken("word", single_word=True, normalized=False),
         AddedToken("<left>", lstrip=True, normalized=False), AddedToken("<right>", rstrip=True, normalized=False),
         AddedToken("<both>", lstrip=True, rstrip=True, normalized=False),
         AddedToken("aab", normalized=True), AddedToken("aabb", normalized=True), AddedToken("abb", normalized=False)]


def byte_level(name, pre_tokenizer, template, specials, added, size=600, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=specials, show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator([TRAINING], trainer)
    tokenizer.add_special_tokens([AddedToken("<pad>", special=True, normalized=False)])
    tokenizer.add_tokens(added)
    if template:
        single, used = template
        tokenizer.post_processor = processors.TemplateProcessing(
            single=single, special_tokens=[(text, tokenizer.token_to_id(text)) for text in used])
    else:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    save(name, tokenizer)
    return tokenizer


def split(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def metaspace(name, pre_tokenizer, normalizer):
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizer
    specials = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=560, special_tokens=specials, show_progress=False, limit_alphabet=90)
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train_from_iterator([TRAINING], trainer)
    data = json.loads(trained.to_str())
    # Byte tokens are no added tokens.
    data["added_tokens"] = [token for token in data["added_tokens"] if token["id"] < 3]
    shell = json.loads(tokenizer.to_str())
    data["model"].update({key: shell["model"][key] for key in ("byte_fallback", "fuse_unk", "unk_token")})
    data["pre_tokenizer"] = shell["pre_tokenizer"]
    tokenizer = Tokenizer.from_str(json.dumps(data))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    save(name, tokenizer, ["<s>x</s> y", " <s> a", "<s>"])


def random_text(generator, tokens):
    pools = ["abcdefghijklmnopqrstuvwxyz", "ABCXYZ", "  \t\n\r\u00a0\u2009", "0123456789½٣", "'’`", "'stmdrevlSTLſ", ".,;:!?-_()[]{}<>|",
             "éüßñıİ", "приветмир", "世界你好", "مرحبا", "\u0301\u0300\u20dd", "🙂👍🏽\u200d👩", "▁", "\x00\x7f\ufeff"]
    result = []
    for _ in range(generator.randrange(12)):
        choice = generator.random()
        if choice < 0.12:
            result.append(generator.choice(tokens))
        elif choice < 0.2:
            code = generator.choice([generator.randrange(0x110000), generator.randrange(0x3000)])
            result.append(chr(code) if not 0xD800 <= code <= 0xDFFF else "x")
        elif choice < 0.4:
            result.append(generator.choice(TEXTS)[:generator.randrange(20)])
        else:
            pool = generator.choice(pools)
            result.append("".join(generator.choice(pool) for _ in range(generator.choice([1, 1, 2, 3, 5, 9, 40]))))
    return "".join(result)


def fuzz(path, count, seed):
    generator = random.Random(seed)
    tokenizer = Tokenizer.from_file(path)
    tokens = [token["content"] for token in json.load(open(path))["added_tokens"]] + ["word", " "]
    texts = [random_text(generator, tokens) for _ in range(count)]
    json.dump([{"text": text, "ids": tokenizer.encode(text).ids} for text in texts], sys.stdout)


def counts(path, files):
    tokenizer = Tokenizer.from_file(path)
    for name in files:
        ids = tokenizer.encode(open(name, encoding="utf-8", newline="").read(), add_special_tokens=False).ids
        value = 0xCBF29CE484222325
        for token in ids:
            for byte in token.to_bytes(4, "little"):
                value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
        print(os.path.basename(path), os.path.basename(name), len(ids), hex(value))


def main():
    if sys.argv[1:2] == ["fuzz"]:
        return fuzz(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    if sys.argv[1:2] == ["counts"]:
        return counts(sys.argv[2], sys.argv[3:])
    ends = ["<|begin_of_text|>", "<|end_of_text|>"]
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    byte_level("gpt2", gpt2, None, ends, ADDED)
    byte_level("gpt2-prefix", pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True),
               ("$A <|end_of_text|>", ends[1:]), ends, ADDED, size=400)
    byte_level("llama3", split(LLAMA3), ("<|begin_of_text|> $A", ends[:1]), ends, ADDED, ignore_merges=True)
    byte_level("qwen2", split(QWEN2), None, ends, [], size=400)
    byte_level("digits", pre_tokenizers.Sequence([pre_tokenizers.Digits(True), gpt2]), None, ends, [], size=400)
    space = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    metaspace("metaspace-first", space, None)
    metaspace("metaspace-split", pre_tokenizers.Metaspace(prepend_scheme="always", split=True), None)
    prepend = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    metaspace("metaspace-normalizer", None, prepend)


main()
