"""Tokenizers with exactly the pipelines of published ones, trained on local text, and texts that try
them. Needs the Python package `tokenizers`.
"""
import glob
import gzip
import json
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers import processors, trainers

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
PATTERN = (CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
           r"|\s+(?!\S)|\s+")
QWEN3_ADDED = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
    "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>",
    "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>", "<tool_call>",
    "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
    "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>"]
QWEN3_SPECIAL = 14  # the rest are plain added tokens
LLAMA3_ADDED = (
    ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>",
     "<|reserved_special_token_1|>", "<|finetune_right_pad_id|>", "<|reserved_special_token_2|>",
     "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>"]
    + [f"<|reserved_special_token_{i}|>" for i in range(3, 248)])


MISTRAL_ADDED = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]"]
# Words of upper and lower case apart, marks among them: Tekken's, and with contractions o200k's (Llama-4).
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CASED = (r"[^\r\n\p{L}\p{N}]?" + UPPER + "*" + LOWER + r"+%s|[^\r\n\p{L}\p{N}]?" + UPPER + "+" + LOWER
         + r"*%s|%s| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
NEVER_IN_UTF8 = [0xC0, 0xC1, *range(0xF5, 0x100)]


def split_then_bytes(*patterns):
    return pre_tokenizers.Sequence([
        *[pre_tokenizers.Split(Regex(p), behavior="isolated", invert=False) for p in patterns],
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)])


def byte_letter(byte):
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return chr(byte) if byte in shown else chr(256 + byte - sum(b < byte for b in shown))


class Family:
    """How text is cut, and what is added to the vocabulary. `first`: the added tokens have the first ids, in the
    model's vocabulary; `lacks`: bytes without a token."""

    def __init__(self, pre_tokenizer, normalizer=None, added=QWEN3_ADDED, special=QWEN3_SPECIAL, first=False, lacks=(),
                 ignore_merges=False, merges_as_text=False):
        self.pre_tokenizer, self.normalizer, self.added, self.special = pre_tokenizer, normalizer, added, special
        self.first, self.lacks = first, lacks
        self.ignore_merges, self.merges_as_text = ignore_merges, merges_as_text


FAMILIES = {
    "qwen3": Family(split_then_bytes(PATTERN % r"\p{N}"), normalizers.NFC()),
    "llama3": Family(split_then_bytes(PATTERN % r"\p{N}{1,3}"), added=LLAMA3_ADDED, special=len(LLAMA3_ADDED),
                     ignore_merges=True, merges_as_text=True),
    "qwen3.5": Family(split_then_bytes(
        CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"),
                      normalizers.NFC(), lacks=NEVER_IN_UTF8),
    "llama4": Family(split_then_bytes(CASED % (CONTRACTIONS + "?", CONTRACTIONS + "?", r"\p{N}{1,3}"))),
    "gpt4": Family(split_then_bytes(
        CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")),
    "nemo": Family(split_then_bytes(CASED % ("", "", r"\p{N}")), added=MISTRAL_ADDED, special=len(MISTRAL_ADDED),
                   first=True, ignore_merges=True),
    # Of no model: what else a pre-tokenizer may be made of.
    "pieces": Family(pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.Punctuation(behavior="merged_with_previous"),
        pre_tokenizers.Split(" ", behavior="merged_with_next"),
        pre_tokenizers.Split(Regex(r"[\p{S}\p{P}]|\p{Nd}"), behavior="contiguous"),
        pre_tokenizers.Split(Regex(r"\p{Mn}+"), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]), normalizers.NFKC()),
    "digits": Family(pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Punctuation(),
        pre_tokenizers.Split(Regex(r"\p{Lo}|\p{So}"), behavior="removed", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]), normalizers.NFKC()),
}
# BPE of characters with a byte fallback: as Mistral-7B-v0.3 has it, and as Llama-2 and Mistral-7B-v0.1.
CHARACTER_FAMILIES = {
    "mistral": (None, pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="first", split=False)),
    "llama2": (normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]), None)}
ALL_FAMILIES = [*FAMILIES, *CHARACTER_FAMILIES]


def added_tokens(family):
    return FAMILIES[family].added if family in FAMILIES else MISTRAL_ADDED


def train(family, vocab_size, texts, drop_every=40):
    """-> tokenizer.json as text"""
    if family in CHARACTER_FAMILIES:
        return train_characters(family, vocab_size, texts)
    return train_bytes(FAMILIES[family], vocab_size, texts, drop_every, family == "llama3")


def train_characters(family, vocab_size, texts):
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    # Words, as SentencePiece learns them; they are not cut in use.
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always", split=True)
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=MISTRAL_ADDED + byte_tokens, limit_alphabet=300, show_progress=False,
        max_token_length=24))
    tokenizer.normalizer, pre_tokenizer = CHARACTER_FAMILIES[family]
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    file = json.loads(tokenizer.to_str())
    file["pre_tokenizer"] = pre_tokenizer and json.loads(pre_tokenizer.__getstate__())
    file["added_tokens"] = [token for token in file["added_tokens"] if token["content"] in MISTRAL_ADDED]
    return json.dumps(file, ensure_ascii=False, separators=(",", ":"))


def train_bytes(family, vocab_size, texts, drop_every, begins):
    """Of the trained merges that no later one needs, one in `drop_every` is left out: its token is then only reached by
    ignore_merges. `begins`: the post-processor adds a beginning of text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer, tokenizer.pre_tokenizer = family.normalizer, family.pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=begins, trim_offsets=begins, use_regex=begins)
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    lacking = {byte_letter(byte) for byte in family.lacks}
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=family.added if family.first else [],
        initial_alphabet=[letter for letter in pre_tokenizers.ByteLevel.alphabet() if letter not in lacking],
        show_progress=False, max_token_length=64))
    first = len(tokenizer.get_vocab())
    if not family.first:
        tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in family.added[:family.special]])
        tokenizer.add_tokens([AddedToken(t, normalized=False) for t in family.added[family.special:]])
    if begins:
        bos = first + family.added.index("<|begin_of_text|>")
        tokenizer.post_processor = processors.Sequence([
            processors.ByteLevel(add_prefix_space=True, trim_offsets=False, use_regex=True),
            processors.TemplateProcessing(
                single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
                special_tokens=[("<|begin_of_text|>", bos)])])
    file = json.loads(tokenizer.to_str())
    model = file["model"]
    merges = [m if isinstance(m, list) else m.split(" ") for m in model["merges"]]
    needed = {part for merge in merges for part in merge}
    free = [i for i, merge in enumerate(merges) if "".join(merge) not in needed]
    dropped = set(free[::drop_every])
    merges = [merge for i, merge in enumerate(merges) if i not in dropped]
    model["merges"] = [" ".join(merge) for merge in merges] if family.merges_as_text else merges
    model["ignore_merges"] = family.ignore_merges
    if not family.merges_as_text:
        model["continuing_subword_prefix"] = model["end_of_word_suffix"] = ""
    return json.dumps(file, ensure_ascii=False, separators=(",", ":"))


def local_files(patterns, bytes_in_all):
    """Texts of the files, in order of name, until there is enough."""
    texts, size = [], 0
    for path in sorted(p for pattern in patterns for p in glob.glob(pattern, recursive=True)):
        try:
            data = (gzip.open if path.endswith(".gz") else open)(path, "rb").read()
        except OSError:
            continue
        text = data[:200000].decode("utf-8", errors="replace")
        texts.append(text)
        size += len(text)
        if size > bytes_in_all:
            break
    return texts


def prose(size):
    return local_files(["/usr/share/common-licenses/*", "/usr/share/doc/**/README*",
                        "/usr/share/doc/**/*.txt", "/usr/share/doc/**/changelog*.gz"], size)


def code(size):
    return local_files(["/usr/lib/python3*/*.py", "/usr/include/c++/*/**/*.h",
                        "/usr/include/c++/*/**/*.tcc", "/usr/include/*.h"], size)


# Letters and marks of scripts, as ranges; words of a script are drawn from its range.
SCRIPTS = {
    "han": (0x4E00, 0x9FA5), "kana": (0x3041, 0x30FF), "hangul": (0xAC00, 0xD7A3),
    "jamo": (0x1100, 0x11F9), "arabic": (0x0620, 0x06D3), "hebrew": (0x05D0, 0x05EA),
    "devanagari": (0x0900, 0x0970), "thai": (0x0E01, 0x0E5B), "cyrillic": (0x0400, 0x04FF),
    "greek": (0x0370, 0x03FF), "latin": (0x00C0, 0x024F), "tibetan": (0x0F40, 0x0FBC),
    "tamil": (0x0B82, 0x0BCD), "bengali": (0x0981, 0x09CD), "hangul compat": (0x3131, 0x318E),
    "cjk compat": (0xF900, 0xFAD9), "cuneiform": (0x12000, 0x1239A), "vietnamese": (0x1E00, 0x1EFF),
    "han b": (0x20000, 0x20100), "new": (0x2EBF0, 0x2EC20), "kawi": (0x11F00, 0x11F59),
    "todhri": (0x105C0, 0x105F3), "mongolian": (0x1800, 0x1842)}
MARKS = ([0x300, 0x301, 0x302, 0x303, 0x307, 0x308, 0x30A, 0x323, 0x327, 0x328, 0x331, 0x338, 0x345]
         + [0x5B0, 0x64B, 0x651, 0x93C, 0x94D, 0xE38, 0xE48, 0x3099, 0x309A, 0x1DF6, 0x8D4, 0x1ACF])
SPACES = [" ", "  ", "\t", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x1f", "\r", "\r\r", "\u0085",
          "\u00a0", "\u1680", "\u180e", "\u2000", "\u2003", "\u200b", "\u2028", "\u2029", "\u202f",
          "\u205f", "\u3000", "\ufeff", "        ", "\t\t", " \r", "\r \r"]
DIGITS = [0x30, 0x660, 0x6F0, 0x966, 0x9E6, 0xE50, 0xF20, 0x17E0, 0xFF10, 0x1D7CE, 0x11F50, 0x1E4F0]
NUMBERS = "½¾²³¹ⅷⅫ①㊿〇一二三٪௧౼᛭"
EMOJI = ["😀", "👨‍👩‍👧‍👦", "👍🏽", "🏳️‍🌈", "🇩🇪", "🇯🇵🇫🇷", "❤️", "1️⃣", "🧑🏿‍🚀", "☺", "👩‍❤️‍💋‍👨", "\u200d", "\ufe0f"]
ASCII_WORDS = ("the of and to in is that it for you was on are with as his they at be this from I "
               "have or by one had not but what all were when we there can an your which their said "
               "it's don't I'LL we've he'd they're 'S 'tis rock'n'roll int main return void #include "
               "std::vector<int> x+=1; a->b (foo) [bar] {baz} == != <= >= // /* */ \"quoted\" 3.14159 "
               "1234567890 0xFF 1e-9 C:\\path\\to https://example.org/a?b=c&d=e foo@bar.com $5.00 50% "
               "---- **** ____ .... !!! ??? CamelCase snake_case ALLCAPS").split(" ")


def word(rng, added):
    kind = rng.randrange(16)
    if kind < 6:
        return rng.choice(ASCII_WORDS)
    if kind < 10:
        low, high = SCRIPTS[rng.choice(list(SCRIPTS))]
        letters = [chr(rng.randint(low, high)) for _ in range(rng.randint(1, 8))]
        if rng.random() < 0.3:  # marks, in and out of order
            for _ in range(rng.randint(1, 4)):
                letters.insert(rng.randint(1, len(letters)), chr(rng.choice(MARKS)))
        return "".join(letters)
    if kind == 10:
        base = rng.choice(DIGITS)
        return "".join(chr(base + rng.randrange(10)) for _ in range(rng.randint(1, 9)))
    if kind == 11:
        return rng.choice(EMOJI) + (rng.choice(EMOJI) if rng.random() < 0.4 else "")
    if kind == 12:
        return "".join(rng.choice("aeiounAEO") + "".join(chr(rng.choice(MARKS[:13]))
                       for _ in range(rng.randint(0, 5))) for _ in range(rng.randint(1, 5)))
    if kind == 13:
        token = rng.choice(added)
        return token if rng.random() < 0.7 else token[rng.randint(0, 3):rng.randint(1, len(token))]
    if kind == 14:
        return rng.choice(NUMBERS) + rng.choice(ASCII_WORDS)
    while True:  # anything, control characters and unassigned code points too
        c = rng.choice([rng.randrange(0x20), rng.randrange(0x3000), rng.randrange(0x110000)])
        if c != 0x0A and not 0xD800 <= c <= 0xDFFF:
            return chr(c)


def mixed_line(rng, added):
    parts = []
    for _ in range(rng.randint(1, 14)):
        parts.append(word(rng, added))
        if rng.random() < 0.75:
            parts.append(" " if rng.random() < 0.7 else rng.choice(SPACES))
    return "".join(parts)


def broken_line(rng, added):
    """Bytes that are not UTF-8 (and hold no newline)."""
    data = bytearray(mixed_line(rng, added).encode())
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            data[at:at] = bytes(rng.choice([0x80, 0xBF, 0xC0, 0xC2, 0xE0, 0xED, 0xF0, 0xF4, 0xF5, 0xFF])
                                for _ in range(rng.randint(1, 3)))
        elif kind == 1:
            del data[at:at + rng.randint(1, 2)]
        elif kind == 2:
            data[at:at] = b"\xed\xa0\x80"
        else:
            data[at:at] = b"\xf0\x9f\x98"
    return bytes(data).replace(b"\n", b"\x80")


def every_code_point_lines():
    """Each code point between letters, digits, spaces and marks, 24 to a line."""
    points = [c for c in range(0x110000) if c != 0x0A and not 0xD800 <= c <= 0xDFFF
              and not 0x40000 <= c < 0xE0000]
    for i in range(0, len(points), 24):
        yield "".join(f"a{chr(c)}1{chr(c)} {chr(c)}e{chr(c)}\u0301\u0323" for c in points[i:i + 24])


def line_seed(name):
    return random.Random("elastron " + name)
