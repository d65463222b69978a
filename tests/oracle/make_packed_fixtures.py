#!/usr/bin/env python3
"""Fixtures of packing, by packing_reference.py.

    python3 tests/oracle/make_packed_fixtures.py    (pip install tokenizers transformers jinja2)

Writes tests/fixtures/packed/records.jsonl, records with all that the text assembly minds, and
cases.json: for each case a tokenizer of tests/fixtures/tokenizer, the options, and the packed
columns they give. make_tokenizer_fixtures.py and make_chat_fixtures.py come first.
"""
import json
import os
import random

import packing_reference as reference

HERE = os.path.dirname(os.path.abspath(__file__))
FIXTURES = os.path.join(HERE, "..", "fixtures")
EOS = {"qwen3": "<|im_end|>", "llama3": "<|eot_id|>"}
WORDS = ["the", "router", "reads", "keys", "of", "2,048", "tokens", "\u4e2d\u6587", "na\u00efve",
         "def f(x):\n    return x", "\U0001f600", "<|im_start|>", "it's", "\n\n", "a\u3000b", "42"]
SPACES = ["", " ", "\n", " \t\r\n", "\u3000", "\u00a0\u2028", "\x1c\x1f", "\u200b", "\ufeff"]


def records():
    rng = random.Random(20)
    rows = []

    def text(words):
        return " ".join(rng.choice(WORDS) for _ in range(words))

    for i in range(48):
        task = (reference.TASKS + ["Poetry"])[i % 6]
        metadata = {"task": task, "length": 7}
        if i % 4:
            metadata["is_prefix"] = i % 4 == 1
        if i % 5 == 1:
            metadata = str(metadata)
        elif i % 5 == 2:
            metadata = json.dumps(metadata)
        answer = "" if i % 7 == 3 else rng.choice(SPACES) + text(rng.randint(1, 6)) + rng.choice(SPACES)
        rows.append({"context": rng.choice(SPACES) + text(rng.randint(0, 40)) + rng.choice(SPACES),
                     "question": rng.choice(SPACES) + text(rng.randint(0, 6)) + rng.choice(SPACES),
                     "answer": answer, "metadata": metadata})
    rows[7]["answer"] = "<think>\nby way of\n</think>\n\n42"
    rows[8]["context"] = rows[8]["question"] = rows[8]["answer"] = ""
    return rows


def main():
    folder = os.path.join(FIXTURES, "packed")
    os.makedirs(folder, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=i % 2 == 0) for i, row in enumerate(records())]
    with open(os.path.join(folder, "records.jsonl"), "w", encoding="utf-8") as out:
        out.write("\n".join(lines) + "\n")
    prompts = {"summarization_before": "Summarise.", "summarization_after": "Summary:",
               "code_before": "Complete the code."}
    cases = []
    for family, options in (
            ("qwen3", {"packing": "sorted", "label_mode": "all"}),
            ("qwen3", {"packing": "first_fit", "label_mode": "answer", **prompts}),
            ("qwen3", {"packing": "none", "label_mode": "answer", "chat_template": "none"}),
            ("llama3", {"packing": "first_fit", "label_mode": "all", **prompts}),
            ("llama3", {"packing": "sorted", "label_mode": "answer", "chat_template": "none"})):
        options = {"max_tokens": 180, "min_tokens": 70, "chat_template": family, **options}
        with open(os.path.join(FIXTURES, "chat", family, "chat_template.jinja"),
                  encoding="utf-8") as file:
            template = file.read()
        model = reference.Model(os.path.join(FIXTURES, "tokenizer", family), eos=0,
                                template=template)
        model.eos = model.tokenizer.token_to_id(EOS[family])
        rows, dropped = reference.pack(lines, model, options)
        assert len(dropped) == 3, dropped
        cases.append({"family": family, "eos": model.eos, "options": options, "packs": rows,
                      "dropped": dropped})
    with open(os.path.join(folder, "cases.json"), "w", encoding="ascii") as out:
        json.dump(cases, out, separators=(",", ":"))
        out.write("\n")


if __name__ == "__main__":
    main()
