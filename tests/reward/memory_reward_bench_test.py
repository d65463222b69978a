#!/usr/bin/env python3
"""What the code takes for granted about MemoryRewardBench's files, checked on the real sample (docs/method.md,
Worked values of pairs, 12): memory_reward_bench_test.py FOLDER. Exit code 77: no sample."""
import ast
import hashlib
import json
import pathlib
import sys

FILES = ("Long-context_Reasoning", "Multi-turn_Dialogue_Understanding", "Long-form_Generation")
STANDARD = ("task", "subtask", "ctx_length", "question", "chosen", "rejected")


def step(number, s):
    """A step of a sequential trace, as text (docs/method.md, Traces)."""
    return (f"Step{number}:\n\n<problem> \n{s['question']}\n</problem>\n\n<memory>\n{s['pmem']}\n"
            f"</memory>\n\n\n<section>\n{s['chk']}\n</section>\n\n\n<wrong_updated_memories>\n"
            f"No wrong updated memory\n</wrong_updated_memories>\n\n\nUpdated memory:\n{s['mem']}\n")


def main():
    folder = pathlib.Path(sys.argv[1])
    if not folder.is_dir():
        print("skipped: the benchmark's sample is not here")
        return 77
    rows = {}
    for name in FILES:
        lines = (folder / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")
        assert lines.pop() == "", f"{name} does not end in a newline"
        rows[name] = [json.loads(line) for line in lines]
        for line, row in zip(lines, rows[name]):
            assert json.dumps(row, ensure_ascii=False) == line, f"{name}: another serialisation"
            assert all(isinstance(row[key], str) for key in STANDARD), f"{name}: {sorted(row)}"

    drop = next(r for r in rows[FILES[0]] if r["task"] == "S-Drop")
    for side, run, length in (("chosen", drop["c"], 26681), ("rejected", drop["r"], 2731)):
        question = run["meta"]["question"]
        text = "\n\n".join(step(i + 1, {**s, "question": question})
                           for i, s in enumerate(run["link"]))
        assert len(drop[side]) == length, (side, len(drop[side]))
        assert text == drop[side], (side, len(text))

    entries = 0
    for side in ("chosen", "rejected"):
        for entry in ast.literal_eval(rows[FILES[1]][0][side]):
            assert hashlib.md5(entry["memory"].encode()).hexdigest() == entry["hash"]
            entries += 1
    assert entries == 25, entries
    print("every row parses and serialises to itself; the S-Drop traces render; 25 hashes agree")
    return 0


sys.exit(main())
