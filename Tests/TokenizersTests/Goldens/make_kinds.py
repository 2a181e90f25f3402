"""Makes the compact goldens of every kind of tokenizer part, with the packages that define what ids are right.

Made with tokenizers 0.23.3, sentencepiece 0.2.3, Python 3.11, seed 7. Usage: python make_kinds.py   (writes beside itself and in Formats/Tokenizers/Vectors)
             python make_kinds.py fuzz COUNT SEED > cases.json   (the same kinds on random texts, for tests by hand)

Vectors/BASE.tokenizer.json: a vocabulary of each kind of model, trained here. kinds.json: texts, and for each kind the base, the parts
that are put in the place of the base's parts, and for each text ten digits: the first six of the FNV-1a hash of its ids (32 bits each,
little-endian) and the first four of that of the UTF-8 that they decode to.
Vectors/NAME.model: SentencePiece models, with the hashes of the ids alone in kinds.json.
"""
import json
import os
import random
import sys

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
VECTORS = os.path.join(HERE, "..", "..", "..", "Formats", "Tokenizers", "Vectors")
SOURCE = open(os.path.join(HERE, "make_goldens.py"), encoding="utf-8").read()
SCOPE = {"__file__": os.path.join(HERE, "make_goldens.py"), "__name__": "texts"}
exec(SOURCE.rsplit("\nmain()", 1)[0], SCOPE)
TRAINING, TEXTS, random_text = SCOPE["TRAINING"], list(SCOPE["TEXTS"]), SCOPE["random_text"]
TEXTS += ["ÀÉÎõü Ǆ ǅ ﬁﬂ ½ ① Ⅷ ㎏ ﷺ ｱｲｳ ｶﾞ 가각 각 Å Ω é", "FOOBar fooBAR ÉCOLEécole ǅa ʰa ªa 中A文B", "don't DON'T I'LL x's中's",
          "123 abc 1234567 12a 3,456,789 ١٢٣٤", "a/b //x/// ?/\n/!", "tab\tnew\nline\r\n  x  \n  y   ", "print(x)\n\n    return 'ok'\n",
          "ประเทศไทย กำลัง हिन्दी में বাংলা", "漢字かなカナ 漢字abc漢字123。「」", "!!!abc .foo #bar $x +y", "a\u200bb\u00adc\ufeffd",
          "x" * 600, "中" * 120, "Ab" * 150, "[UNK] [CLS] ##x ##", "e\u0301\u0327a\u0327\u0301 \u1100\u1161\u11a8", "\u3000全角　空白\u3000", "¡Hola! ¿Qué?"]


def regex(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}


def text_split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"String": pattern}, "behavior": behavior, "invert": invert}


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
I = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPACES = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
U, L = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
P = r"[^\r\n\p{L}\p{N}]?"


def cased(contraction, digits):
    return P + U + "*" + L + "+" + contraction + "|" + P + U + "+" + L + "*" + contraction + "|" + digits + r"| ?[^\s\p{L}\p{N}]+[\r\n/]*" + SPACES


DEEPSEEK = (r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^""" + "\r\n" + r"\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[" + "\r\n"
            + r"]*|\s*[" + "\r\n" + r"]+|\s+(?!\S)|\s+")
PATTERNS = {
    "gpt-4o": [cased(I + "?", r"\p{N}{1,3}")], "tekken": [cased("", r"\p{N}")], "cased-digits": [cased(I + "?", r"\p{N}")],
    "qwen35": [I + r"|" + P + r"[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + SPACES],
    "seed-coder": [I + "|[^\r\n" + r"\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}" + "\r\n" + r"]+|\s*[" + "\r\n" + r"]+|\s+(?!\S)|\s+"],
    "bailing": [r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"],
    "plain-words": [P + r"\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + SPACES],
    "digit-run-words": [r"\p{N}{1,3}", I + "|" + P + r"\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*" + SPACES],
    "deepseek-v3": [r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+", DEEPSEEK],
    "deepseek-coder": ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\ud7ff]+", r"\p{N}"],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", "GPT2", "[0-9][0-9][0-9]"],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", "GPT2", r"\p{N}+", "[0-9][0-9][0-9]"],
    "bloom": [" ?[^(\\s|[.,!?…。，、।۔،])]+"], "starcoder": [r"\p{N}", "GPT2"],
    "tiny-aya": [r"\d{1,3}(?=(?:\d{3})*\b)", cased(I + "?", r"\p{N}{1,3}")],
    "superbpe": [r"\p{N}+", r"(?=(\d{3})+(?!\d))"],
    "lines": [r"[^\n]+|[\n]+", I + "|" + P + r"\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + SPACES],
    # No scanners for these: the general engine runs them.
    "cl100k": [r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"],
    "exaone-moe": [I + "|" + P + r"(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"],
    "jais-2": [I + "|" + P + r"\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}"],
    "kimi": [r"[\p{Han}]+|" + (cased(I + "?", r"\p{N}{1,3}").replace(U, "(?:(?!\\p{Han})" + U + ")").replace(L, "(?:(?!\\p{Han})" + L + ")"))],
    "words": [r"\w+|[^\w\s]+"], "digits": [r"\d+"], "hex": [r"0x\h+|\h{2}"], "lazy": ["a.*?e"], "lookbehind": [r"(?<=\s)\S+"],
    "anchors": [r"^\S+|\S+$"], "empty": ["x*"], "boundaries": [r"\b\w"],
}


def kinds():
    result = []

    def add(name, base, **parts):
        result.append({"name": name, "base": base, "parts": parts})

    for name, patterns in PATTERNS.items():
        steps = [step for pattern in patterns for step in ([regex(SCOPE_GPT2)] if pattern == "GPT2" else [regex(pattern)])]
        add("bytes " + name, "bytes", pre_tokenizer={"type": "Sequence", "pretokenizers": steps + [BYTES]})
    for behavior in ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]:
        for invert in [False, True]:
            add(f"split {behavior} {invert}", "bytes", pre_tokenizer={"type": "Sequence", "pretokenizers": [
                regex(r"[aeiou]|\s", behavior, invert), BYTES]})
        add(f"literal {behavior}", "bytes", pre_tokenizer={"type": "Sequence", "pretokenizers": [text_split("th", behavior), BYTES]})
        add(f"punctuation {behavior}", "bytes", pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "Punctuation", "behavior": behavior}, BYTES]})
    add("digits run", "bytes", pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": False}, GPT2]})
    add("whitespace", "bytes", pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, BYTES]})
    add("whitespace split", "bytes", pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, dict(BYTES, add_prefix_space=True)]})
    add("bert split", "bytes", pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "BertPreTokenizer"}, BYTES]})
    add("delimiter", "bytes", pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "CharDelimiterSplit", "delimiter": "o"}, BYTES]})
    add("fixed length", "bytes", pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "FixedLength", "length": 3}, BYTES]})
    add("falcon order", "bytes", pre_tokenizer={"type": "Sequence", "pretokenizers": [
        {"type": "Punctuation", "behavior": "Contiguous"}, GPT2, {"type": "Digits", "individual_digits": False}, regex("[0-9][0-9][0-9]")]})
    for form in ["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt"]:
        add("normalizer " + form, "bytes", normalizer={"type": form}, pre_tokenizer=GPT2)
    add("normalizer Strip", "bytes", normalizer={"type": "Strip", "strip_left": True, "strip_right": True}, pre_tokenizer=GPT2)
    add("normalizer Replace", "bytes", normalizer={"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "}, pre_tokenizer=GPT2)
    add("normalizer Sequence", "bytes", normalizer={"type": "Sequence", "normalizers": [
        {"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}, {"type": "Prepend", "prepend": "_"},
        {"type": "Replace", "pattern": {"String": "ss"}, "content": "ß"}]}, pre_tokenizer=GPT2)
    for cleans in [True, False]:
        for lower in [True, False]:
            add(f"normalizer Bert {cleans} {lower}", "bytes", normalizer={
                "type": "BertNormalizer", "clean_text": cleans, "handle_chinese_chars": cleans, "strip_accents": None, "lowercase": lower}, pre_tokenizer=GPT2)
    add("roberta", "bytes", pre_tokenizer=GPT2, post_processor={
        "type": "RobertaProcessing", "sep": ["</s>", 1], "cls": ["<s>", 0], "trim_offsets": True, "add_prefix_space": True})
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    add("unigram", "unigram")
    add("unigram metaspace decoder", "unigram", decoder=metaspace)
    add("unigram words", "unigram", pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]}, decoder=metaspace)
    add("unigram never", "unigram", pre_tokenizer=dict(metaspace, prepend_scheme="never", split=False), decoder=dict(metaspace, prepend_scheme="never"))
    add("unigram nfkc", "unigram", normalizer={"type": "NFKC"})
    add("unigram precompiled", "unigram", normalizer={"type": "Precompiled", "precompiled_charsmap": charsmap()})
    add("wordpiece", "wordpiece")
    add("wordpiece bert", "wordpiece", normalizer={"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
                                                   "lowercase": True}, decoder={"type": "WordPiece", "prefix": "##", "cleanup": False})
    add("wordlevel", "wordlevel")
    add("characters", "characters")
    return result


RULES = "AB\tx\nA\ty\nﬁ\tfi\né\te\nü\tue\n\u3000\t \n\t\t \n①\t1\n"


def charsmap():
    import base64
    return base64.b64encode(normalizer_charsmap("identity", RULES_TSV)).decode()


RULES_TSV = [("41 42", "78"), ("41", "79"), ("FB01", "66 69"), ("E9", "65"), ("65 301", "65"), ("FC", "75 65"), ("3000", "20"), ("9", "20"), ("2460", "31"), ("AD", "")]


def normalizer_charsmap(name, rules):
    model = open(os.path.join(VECTORS, "rules.model"), "rb").read()
    return spec_field(model, 3, 2)


def spec_field(data, message, field):
    """The bytes of a field of a message of a protocol buffer."""
    for number, value in fields(data):
        if number == message:
            for inner, content in fields(value):
                if inner == field:
                    return content


def fields(data):
    index = 0

    def varint():
        nonlocal index
        value = shift = 0
        while True:
            byte = data[index]
            index += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while index < len(data):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        else:
            count = {1: 8, 5: 4}.get(key & 7) or varint()
            yield key >> 3, data[index:index + count]
            index += count


SCOPE_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def train():
    def save(name, tokenizer):
        tokenizer.save(os.path.join(VECTORS, f"{name}.tokenizer.json"), pretty=False)

    specials = ["<s>", "</s>", "<unk>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator([TRAINING], trainers.BpeTrainer(
        vocab_size=480, special_tokens=specials, show_progress=False, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    tokenizer.add_tokens([AddedToken("wor", normalized=True), AddedToken("<X>", normalized=True)])
    save("bytes", tokenizer)

    tokenizer = Tokenizer(models.Unigram())
    metaspace = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    tokenizer.pre_tokenizer = metaspace
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.train_from_iterator(TRAINING.split("\n") * 3, trainers.UnigramTrainer(
        vocab_size=380, special_tokens=specials, unk_token="<unk>", show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    save("unigram", tokenizer)

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator([TRAINING.lower(), TRAINING], trainers.WordPieceTrainer(
        vocab_size=420, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    save("wordpiece", tokenizer)

    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator([TRAINING], trainers.WordLevelTrainer(vocab_size=120, special_tokens=["[UNK]"], show_progress=False))
    save("wordlevel", tokenizer)

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator([TRAINING], trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>"], show_progress=False, limit_alphabet=60))
    save("characters", tokenizer)


SENTENCE_PIECE = {
    "bpe": dict(model_type="bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, user_defined_symbols=["<sep>", "ing"]),
    "unigram": dict(model_type="unigram", byte_fallback=False, normalization_rule_name="identity", user_defined_symbols=["<sep>"]),
    "suffix": dict(model_type="unigram", byte_fallback=True, normalization_rule_name="identity", treat_whitespace_as_suffix=True),
    "plain": dict(model_type="bpe", normalization_rule_name="identity", add_dummy_prefix=False, remove_extra_whitespaces=False),
    "rules": dict(model_type="unigram", rules=True),
}


def train_sentence_piece(name, rules=False, **options):
    text = os.path.join(HERE, "training.tmp")
    with open(text, "w", encoding="utf-8") as file:
        file.write("\n".join(TRAINING.split("\n") * 4))
    if rules:
        tsv = os.path.join(HERE, "rules.tmp")
        with open(tsv, "w", encoding="utf-8") as file:
            file.write("".join(f"{a}\t{b}\n" for a, b in RULES_TSV))
        options["normalization_rule_tsv"] = tsv
    size = 560 if options.get("byte_fallback") else 330
    sentencepiece.SentencePieceTrainer.train(
        input=text, model_prefix=os.path.join(VECTORS, "" + name), vocab_size=size, character_coverage=0.98, minloglevel=2,
        num_threads=1, hard_vocab_limit=False, **options)
    os.remove(os.path.join(VECTORS, f"{name}.vocab"))
    for path in ["training.tmp", "rules.tmp"]:
        if os.path.exists(os.path.join(HERE, path)):
            os.remove(os.path.join(HERE, path))


def hostile():
    """Files that must be refused."""
    def save(name, data):
        with open(os.path.join(VECTORS, "hostile", name), "wb") as file:
            file.write(data)

    os.makedirs(os.path.join(VECTORS, "hostile"), exist_ok=True)
    model = open(os.path.join(VECTORS, "unigram.model"), "rb").read()
    piece = lambda content: b"\x0a" + bytes([len(content)]) + content
    save("truncated.model", model[:-3])
    save("long-field.model", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7fabc")
    save("endless-integer.model", b"\x80" * 40)
    save("nan-score.model", model + piece(b"\x0a\x01z\x15\x00\x00\xc0\x7f"))
    save("unknown-type.model", model + piece(b"\x0a\x01z\x18\x09"))
    save("id-out-of-range.model", model + b"\x12\x05\xc8\x02\xff\xff\x03")
    save("characters.model", model + b"\x12\x02\x18\x04")
    save("wrong-wire-type.model", model + piece(b"\x10\x01"))
    save("group.model", b"\x0b" + model)
    rules = (8).to_bytes(4, "little") + bytes(8)
    bomb = rules + b"A" * 100 + b"\0"
    save("rules-bomb.model", model + b"\x1a" + bytes([len(bomb) + 2]) + b"\x12" + bytes([len(bomb)]) + bomb)
    short = (1 << 20).to_bytes(4, "little") + bytes(8)
    save("rules-short.model", model + b"\x1a" + bytes([len(short) + 2]) + b"\x12" + bytes([len(short)]) + short)
    base = {"model": "llama", "tokens": ["<unk>", "<s>", "</s>", "a"], "scores": [0, 0, 0, -1], "token_type": [2, 3, 3, 1]}
    for name, change in {
        "nan-score": {"scores": [0, 0, 0, "nan"]}, "few-scores": {"scores": [0]}, "few-types": {"token_type": [1]}, "no-tokens": {"tokens": []},
        "unknown-model": {"model": "rwkv"}, "unknown-pre": {"model": "gpt2", "pre": "magic", "merges": []}, "no-merges": {"model": "gpt2"},
        "bad-merge": {"model": "gpt2", "merges": ["ab"]}, "bad-hex": {"tokens": [{"hex": "0"}]},
        "bad-rules": {"model": "t5", "precompiled_charsmap": "FFFFFFFF00"}, "long-piece": {"model": "t5", "tokens": ["a" * 600], "scores": [0], "token_type": [1]},
    }.items():
        save(name + ".gguf.json", json.dumps(dict(base, **change)).encode())


def fnv(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def ids_hash(ids):
    return fnv(b"".join(token.to_bytes(4, "little") for token in ids))


def evaluate(texts, full):
    result = []
    for kind in kinds():
        document = json.load(open(os.path.join(VECTORS, f"{kind['base']}.tokenizer.json"), encoding="utf-8"))
        document.update(kind["parts"])
        tokenizer = Tokenizer.from_str(json.dumps(document))
        cases = []
        for text in texts:
            ids = tokenizer.encode(text).ids
            # With a normalizer the reference decodes added tokens to their normalized form; Adze does not.
            decoded = None if "normalizer" in kind["parts"] and kind["base"] == "bytes" else tokenizer.decode(ids)
            cases.append([ids, decoded] if full else ids_hash(ids)[:6] + ("----" if decoded is None else fnv(decoded.encode())[:4]))
        result.append(dict(kind, cases=cases if full else "".join(cases)))
    for name in SENTENCE_PIECE:
        model = sentencepiece.SentencePieceProcessor(os.path.join(VECTORS, f"{name}.model"))
        cases = [[model.encode(text), None] if full else ids_hash(model.encode(text))[:6] + "----" for text in texts]
        result.append({"name": "sentencepiece " + name, "model": f"{name}.model", "cases": cases if full else "".join(cases)})
    return {"texts": texts, "kinds": result}


if sys.argv[1:2] == ["fuzz"]:
    generator = random.Random(int(sys.argv[3]))
    json.dump(evaluate([random_text(generator, ["<s>", "wor", "<X>", "</s>", "[CLS]", "<sep>"]) for _ in range(int(sys.argv[2]))], True), sys.stdout)
else:
    train()
    for name, options in SENTENCE_PIECE.items():
        train_sentence_piece(name, **options)
    hostile()
    with open(os.path.join(HERE, "kinds.json"), "w", encoding="utf-8") as file:
        json.dump(evaluate(TEXTS, False), file, separators=(",", ":"))
    print(os.path.getsize(os.path.join(HERE, "kinds.json")))
