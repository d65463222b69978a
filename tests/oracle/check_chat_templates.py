#!/usr/bin/env python3
"""Whether the program renders a chat template as transformers does, and the template's hash for the table in
data/known_templates.cpp.

    python3 tests/oracle/check_chat_templates.py [--program build/elastron] [--conversations 3000]
        [--form NAME] chat_template.jinja ...   (pip install transformers jinja2 xxhash)

Each text is put into a model folder whose tokenizer has a token per byte, so that `elastron tokenize --chat` prints
the bytes of what it renders. It must be that of transformers (thinking off; Llama's date is the template's own) for
random conversations, and refuse those that the template refuses. --form renders with data.chat_template: NAME instead
of recognising the text, for one that is to be added. Without --program only hashes are printed.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

import xxhash
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from chat_conversations import random_conversation, rendered


def template_hash(text):
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return xxhash.xxh3_128_hexdigest(text.removesuffix("\n").encode())


def byte_tokenizer():
    """tokenizer.json whose ids are bytes."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = [byte for byte in range(256) if byte not in shown]
    names = {byte: chr(byte) for byte in shown} | {byte: chr(256 + i) for i, byte in enumerate(moved)}
    tokenizer = Tokenizer(models.BPE(vocab={name: byte for byte, name in names.items()}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer.to_str()


def lines_of(program, folder, form, conversations):
    """-> (exit code, the output's lines, standard error)"""
    data = "".join(json.dumps([{"role": r, "content": c} for r, c in turns]) + "\n" for turns in conversations)
    command = [program, "tokenize", "--model", folder, "--chat"] + (["--chat-template", form] if form else [])
    done = subprocess.run(command, input=data.encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return done.returncode, done.stdout.decode().split("\n")[:-1], done.stderr.decode()


def compare(arguments, text, folder):
    """-> number of differences"""
    rng = random.Random("elastron " + template_hash(text))
    taken, refused = [], []
    for _ in range(arguments.conversations):
        turns = random_conversation(rng)
        want = rendered(text, turns, turns[-1][0] != "assistant")
        (refused if want is None else taken).append((turns, want))
    code, lines, error = lines_of(arguments.program, folder, arguments.form, [turns for turns, _ in taken])
    if code != 0:
        print("  " + error.strip())
        return len(taken)
    wrong = int(len(lines) != len(taken))
    for (turns, want), line in zip(taken, lines):
        got = bytes(json.loads(line)).decode(errors="replace")
        if got != want:
            wrong += 1
            if wrong < 4:
                print(f"  {turns!r}\n    ours   {got!r}\n    theirs {want!r}")
    for turns, _ in refused:
        code, _, error = lines_of(arguments.program, folder, arguments.form, [turns])
        if code != 3:
            wrong += 1
            print(f"  not refused: {turns!r} {error}")
    print(f"  {len(taken)} conversations rendered and {len(refused)} refused: {wrong} differences", flush=True)
    return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program")
    parser.add_argument("--conversations", type=int, default=3000)
    parser.add_argument("--form")
    parser.add_argument("templates", nargs="+")
    arguments = parser.parse_args()
    tokenizer = byte_tokenizer()
    wrong = 0
    for path in arguments.templates:
        with open(path, encoding="utf-8", newline="") as file:
            text = file.read()
        print(f"{template_hash(text)}  {os.path.basename(path)}", flush=True)
        if not arguments.program:
            continue
        with tempfile.TemporaryDirectory() as folder:
            for name, content in (("tokenizer.json", tokenizer), ("chat_template.jinja", text)):
                with open(os.path.join(folder, name), "w", encoding="utf-8", newline="") as out:
                    out.write(content)
            wrong += compare(arguments, text, folder)
    sys.exit(wrong != 0)


if __name__ == "__main__":
    main()
