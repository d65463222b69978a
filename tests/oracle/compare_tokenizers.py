#!/usr/bin/env python3
"""Compares `elastron tokenize` with the Python package `tokenizers`, on large tokenizers
trained here with the pipelines of tokenizer_families.py, and their speed.

    python3 tests/oracle/compare_tokenizers.py --program build/elastron [--vocab 50000]
        [--lines 24000] [--families qwen3,mistral] [--bench build/bench/elastron_bench_tokenizer]
    python3 tests/oracle/compare_tokenizers.py --program build/elastron --model DIR

With --model the tokenizer of a model folder is compared instead.

Prints every difference (there must be none; exit code 1 otherwise): ids and decoded text of mixed
lines, of lines that are not UTF-8 (decoded with errors="replace" for Python), of every code point in
several contexts, of words of a megabyte, and of prose and code. With --bench also the speed on one
thread, and the time of 1, 2, 4 and 8 MB.
"""
import os

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
import argparse
import json
import subprocess
import sys
import tempfile
import time

from tokenizers import Tokenizer

import tokenizer_families as families


def run(program, folder, data, *options):
    return subprocess.run([program, "tokenize", "--model", folder, *options], input=data,
                          stdout=subprocess.PIPE, check=True).stdout.decode().split("\n")[:-1]


def compare(program, folder, tokenizer, name, lines):
    """lines: bytes without newline. -> number of differences"""
    ours = [json.loads(line) for line in run(program, folder, b"".join(l + b"\n" for l in lines))]
    assert len(ours) == len(lines), (name, len(ours), len(lines))
    wrong = tokens = 0
    decode_in, decode_want = [], []
    for line, got in zip(lines, ours):
        want = tokenizer.encode(line.decode("utf-8", errors="replace"), add_special_tokens=False).ids
        tokens += len(want)
        if got != want:
            wrong += 1
            if wrong <= 10:
                at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b),
                          min(len(got), len(want)))
                print(f"  ids differ at {at}: {line[:200]!r}\n    ours   {got[at:at + 12]}"
                      f"\n    theirs {want[at:at + 12]}")
        # Decoding of the ids, and of a part that may begin or end within a character.
        for ids in (want, want[1:-1]):
            decode_in.append(json.dumps(ids))
            decode_want.append(tokenizer.decode(ids, skip_special_tokens=False))
    decoded = run(program, folder, "\n".join(decode_in + [""]).encode(), "--decode")
    bad = [i for i, (a, b) in enumerate(zip(decoded, decode_want)) if json.loads(a) != b]
    for i in bad[:10]:
        print(f"  decoded differs: {decode_in[i][:200]}\n    {decoded[i][:200]}\n    {decode_want[i]!r}")
    print(f"{name}: {len(lines)} lines, {tokens} tokens: {wrong} differences in ids, "
          f"{len(bad)} in {len(decode_in)} decoded", flush=True)
    return wrong + len(bad) + (len(decoded) != len(decode_in))


def compare_whole(bench, folder, tokenizer, name, text, scratch):
    """Text with its newlines, which cannot go through lines."""
    path = os.path.join(scratch, "text")
    with open(path, "wb") as out:
        out.write(text.encode())
    ours = subprocess.run([bench, "--model", folder, "--text", path, "--ids"], check=True,
                          stdout=subprocess.PIPE).stdout.split()
    want = tokenizer.encode(text, add_special_tokens=False).ids
    same = list(map(int, ours)) == want
    print(f"{name}, whole ({len(text.encode()) / 1e6:.1f} MB, {len(want)} tokens): "
          f"{'same' if same else 'DIFFERENT'}", flush=True)
    return not same


def with_newlines(rng, lines):
    ends = ["\n"] * 6 + ["\r\n", "\n\n", "\r\n\r\n", " \n", "\n ", "\n\t\n", "\r", "\n \n  ", "\u2028\n"]
    return "".join(line + rng.choice(ends) for line in lines)


def long_words(rng):
    size = 1_000_000
    yield b"a" * size
    yield bytes(rng.choice(b"abcdefghijklmnopqrstuvwxyz") for _ in range(size))
    yield b" " * size
    yield b"=" * size
    yield b"7" * size
    yield b"\r" * size + b"x"
    yield ("\u4e2d\u6587" * (size // 6)).encode()
    yield ("e" + "\u0301\u0323" * (size // 40)).encode()
    yield ("\u0e01\u0e34\u0e48" * (size // 9)).encode()
    yield b"\xff" * (size // 10)
    yield b"<|im_start|><|eot_id|>" * (size // 40)


def speed(bench, folder, tokenizer, name, texts, scratch, megabytes=4):
    text = "".join(texts)[:megabytes * 1_000_000]
    path = os.path.join(scratch, "text")
    with open(path, "w", encoding="utf-8", newline="") as out:
        out.write(text)
    size = os.path.getsize(path)
    ours, theirs = [], []
    for _ in range(3):  # in turns: the machine's clock moves
        ours.append(json.loads(subprocess.run(
            [bench, "--model", folder, "--text", path, "--runs", "1"], check=True,
            stdout=subprocess.PIPE).stdout))
        fresh = Tokenizer.from_str(tokenizer.to_str())
        # Lines, because one long text is slower still; twice, for the package caches words.
        for _ in range(2):
            start = time.perf_counter()
            for line in text.splitlines(keepends=True):
                fresh.encode(line, add_special_tokens=False)
            theirs.append(time.perf_counter() - start)
    mine, other = max(o["mb_per_second"] for o in ours), size / 1e6 / min(theirs)
    start = time.perf_counter()
    tokenizer.encode(text, add_special_tokens=False)
    whole = size / 1e6 / (time.perf_counter() - start)
    print(f"speed on {name} ({size / 1e6:.1f} MB): elastron {mine:.1f} MB/s, tokenizers {other:.2f} "
          f"MB/s by lines, {whole:.2f} in one: ratio {mine / max(other, whole):.1f} "
          f"(load {ours[0]['load_seconds']:.2f} s)", flush=True)


def linearity(bench, folder, name, unit, scratch):
    path = os.path.join(scratch, "text")
    times = []
    for megabytes in (1, 2, 4, 8):
        with open(path, "wb") as out:
            out.write(unit * (megabytes * 1_000_000 // len(unit)))
        times.append(json.loads(subprocess.run(
            [bench, "--model", folder, "--text", path, "--runs", "2"], check=True,
            stdout=subprocess.PIPE).stdout)["seconds"])
    print(f"  {name}: 1, 2, 4, 8 MB in " + ", ".join(f"{t:.3f}" for t in times) + " s", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--bench")
    parser.add_argument("--vocab", type=int, default=50000)
    parser.add_argument("--lines", type=int, default=24000)
    parser.add_argument("--families", default=",".join(families.ALL_FAMILIES))
    parser.add_argument("--model")
    parser.add_argument("--megabytes", type=float, default=12)
    arguments = parser.parse_args()
    prose, code = (f(int(arguments.megabytes * 1e6)) for f in (families.prose, families.code))
    wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        for family in [arguments.model] if arguments.model else arguments.families.split(","):
            rng = families.line_seed("compare " + family)
            folder = arguments.model or os.path.join(scratch, family)
            if not arguments.model:
                texts = prose + code + [families.mixed_line(rng, families.ASCII_WORDS) for _ in range(30000)]
                os.makedirs(folder)
                with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as out:
                    out.write(families.train(family, arguments.vocab, texts))
            tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
            added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
            print(f"== {family}: {tokenizer.get_vocab_size()} tokens")
            lines = {
                "mixed": [families.mixed_line(rng, added).encode() for _ in range(arguments.lines)],
                "not UTF-8": [families.broken_line(rng, added)
                              for _ in range(arguments.lines // 8)],
                "every code point": [line.encode() for line in families.every_code_point_lines()],
                "prose": "".join(prose)[:2_000_000].encode().split(b"\n"),
                "code": "".join(code)[-2_000_000:].encode().split(b"\n"),
                "long words": list(long_words(rng)),
            }
            for name, some in lines.items():
                wrong += compare(arguments.program, folder, tokenizer, name, some)
            if arguments.bench:
                mixed = [line.decode() for line in lines["mixed"]]
                for name, whole in (("mixed", with_newlines(rng, mixed)),
                                    ("prose", "".join(prose)[:4_000_000]),
                                    ("code", "".join(code)[:4_000_000])):
                    wrong += compare_whole(arguments.bench, folder, tokenizer, name, whole, scratch)
                speed(arguments.bench, folder, tokenizer, "English prose", prose, scratch)
                speed(arguments.bench, folder, tokenizer, "code", code, scratch)
                print("linearity")
                for name, unit in (("one letter", b"a"), ("one word of letters", b"abcdefgh"),
                                   ("blanks", b" "), ("marks out of order", "\u0301\u0323".encode()),
                                   ("Han", "\u4e2d\u6587".encode()), ("added tokens", b"<|eot_id|>"),
                                   ("prose", b"The quick brown fox jumps over 13 lazy dogs.\r\n\n")):
                    linearity(arguments.bench, folder, name, unit, scratch)
    print("differences:", wrong)
    sys.exit(wrong != 0)


if __name__ == "__main__":
    main()
