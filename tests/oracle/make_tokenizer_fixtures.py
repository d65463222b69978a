#!/usr/bin/env python3
"""Fixtures of tokenizers, by the Python package `tokenizers`.

    python3 tests/oracle/make_tokenizer_fixtures.py [FAMILY ...]           (pip install tokenizers)

Trains tokenizers with the pipelines of tokenizer_families.py (all, or those named) on text of this machine and
writes tests/fixtures/tokenizer/<family>/: tokenizer.json and cases.jsonl, a text a line with its ids
(add_special_tokens=False) and what they decode to. Text that is not UTF-8 is given in hex.
"""
import json
import os
import sys

from tokenizers import Tokenizer

import tokenizer_families as families

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "tokenizer")
# Tokens and lines: those of the models that everything is tried on, and of the others.
LARGE, SMALL = (5000, 240), (1100, 60)
FIXED = [
    "", " ", "\n", "\r\n", "a", "\n\n\n", " \n \n  x", "x  \r\n\r\n  y", "Hello, world!",
    "I'll can't we'VE 'Sx it'\u017f", "don't\u2019t", "1 12 123 1234 12345 1234567",
    "\u0661\u0662\u0663\u0664\u0665 \u00bd\u2167", "e\u0301 \u00e9 a\u0323\u0302 a\u0302\u0323 \u1ead",
    "\u212b \u2126 \uf900 \u0958 \u0344 \u2adc", "\u1112\u1161\u11ab \ud55c\uae00 \u1100\u1161",
    "a\u0345\u0334\u0301\u0300", "\u0301\u0323 leading marks", "q\u1df6\u0334 \u11935\u11930",
    "\U00011935\U00011930 \U000105d2\u0307", "x\u180ey \u180e \u180e\u180ez\u3000\u3000w",
    "\u0085\u0085a \u2028b\u2029 \u00a0\u00a0c", "\x1c\x1d \x1e\x1fz \x00\x01\x7f",
    "\U0002ebf0\U00031350\ua7cb \U00011f50\U0001e4f0x", "<|im_start|>user\nHi<|im_end|>\n",
    "<think>\n\n</think>\n\nok", "<|im_start|<|im_start|>", "<|begin_of_text|><|eot_id|>x",
    "<|reserved_special_token_1|><|reserved_special_token_12|><|reserved_special_token_124|>",
    "text with <|endoftext|> inside", "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f44d\U0001f3fd",
    "def f(x):\n\treturn {\n\t\t'a': x**2,  # comment\n\t}\n", "    indented\n        more\n",
    "http://example.org/?q=1&r=%20", "\u4f60\u597d\uff0c\u4e16\u754c\u3002", "\ufeffbom",
    "a" * 300, " " * 300, "\u4e2d" * 100, "=" * 120, "ab" * 150 + "\n" * 60, "\u0e01\u0e34\u0e48" * 30]


def main():
    corpus = families.prose(2_000_000) + families.code(2_000_000)
    rng = families.line_seed("training")
    for family in sys.argv[1:] or families.ALL_FAMILIES:
        size, count = LARGE if family in ("qwen3", "llama3") else SMALL
        added = families.added_tokens(family)
        plain = [w for w in families.ASCII_WORDS]
        corpus_here = corpus + [families.mixed_line(rng, plain) for _ in range(4000)]
        text = families.train(family, size, corpus_here)
        folder = os.path.join(OUT, family)
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as out:
            out.write(text + "\n")
        tokenizer = Tokenizer.from_str(text)
        lines = families.line_seed("cases " + family)
        texts = [t.encode() for t in FIXED]
        texts += [families.mixed_line(lines, added).encode() for _ in range(count)]
        texts += [families.broken_line(lines, added) for _ in range(count // 4)]
        texts += [b"a\xc3", b"\xe2\x82", b"\xf0\x9f\x98 x", b"\xed\xa0\x80", b"\xc0\xaf\xff\xfe"]
        with open(os.path.join(folder, "cases.jsonl"), "w", encoding="ascii") as out:
            for raw in texts:
                seen = raw.decode("utf-8", errors="replace")
                ids = tokenizer.encode(seen, add_special_tokens=False).ids
                case = {"text": seen} if seen.encode() == raw else {"hex": raw.hex()}
                case |= {"ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False)}
                out.write(json.dumps(case) + "\n")
            # Ids in any order: pieces of characters, too.
            for _ in range(40):
                ids = [lines.randrange(tokenizer.get_vocab_size()) for _ in range(12)]
                out.write(json.dumps({"ids": ids, "decoded": tokenizer.decode(
                    ids, skip_special_tokens=False)}) + "\n")


if __name__ == "__main__":
    main()
