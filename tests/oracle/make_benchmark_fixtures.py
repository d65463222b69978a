#!/usr/bin/env python3
"""Cuts real rows of MemoryRewardBench down to tests/fixtures/memory_reward_bench:
make_benchmark_fixtures.py FOLDER.

FOLDER holds complete rows of the benchmark (LCM-Lab/MemoryRewardBench, datas/, Apache-2.0), one file per
task, and judge_prompt_example.json: what the published evaluator asked and got for the row of 64k, with the
SHA-256 of the whole prompt. What our code takes for granted about the files is checked on the whole rows
first: how they are serialised, how a sequential trace is written, that hashes are those of the memories, and
that the judge's prompt is put together as we do it.
"""
import ast
import hashlib
import json
import pathlib
import sys

FILES = ("Long-context_Reasoning", "Multi-turn_Dialogue_Understanding", "Long-form_Generation")
STANDARD = ("task", "subtask", "ctx_length", "question", "chosen", "rejected")
KEPT = 1200  # characters of a text
STEPS = 2
ENTRIES = 3
OUT = pathlib.Path(__file__).parents[1] / "fixtures/memory_reward_bench"
README = """# Rows of MemoryRewardBench, cut

Real rows of MemoryRewardBench (LCM-Lab; arXiv 2601.11969), released under the Apache License 2.0
(https://www.apache.org/licenses/LICENSE-2.0). Changed: texts are cut, and most fields that our readers pass over
are left out; `judge_prompt_example.json` has the published answer with the length and SHA-256 that the prompt has
for the cut row. Made by tests/oracle/make_benchmark_fixtures.py.
"""


def step(number, question, s):
    """A step of a sequential trace."""
    return (f"Step{number}:\n\n<problem> \n{question}\n</problem>\n\n<memory>\n{s['pmem']}\n"
            f"</memory>\n\n\n<section>\n{s['chk']}\n</section>\n\n\n<wrong_updated_memories>\n"
            f"No wrong updated memory\n</wrong_updated_memories>\n\n\nUpdated memory:\n{s['mem']}\n")


def trace(run):
    question = run["meta"]["question"]
    return "\n\n".join(step(i + 1, question, s) for i, s in enumerate(run["link"]))


def prompt(example, row):
    a, b = [(row["chosen"], row["rejected"])[i] for i in example["shuffled_order"]]
    user = (f"[User Question]\n{row['question']}\n\n[The Start of Agent A's Trajectory]\n{a}\n"
            f"[The End of Agent A's Trajectory]\n\n[The Start of Agent B's Trajectory]\n{b}\n"
            f"[The End of Agent B's Trajectory]")
    end = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    return example["input_text_head"] + user + end


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def read(folder):
    rows = {}
    for name in FILES:
        lines = (folder / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")
        assert lines.pop() == "", f"{name} does not end in a newline"
        rows[name] = [json.loads(line) for line in lines]
        for line, row in zip(lines, rows[name]):
            assert json.dumps(row, ensure_ascii=False) == line, f"{name}: another serialisation"
            assert all(isinstance(row[key], str) for key in STANDARD), f"{name}: {sorted(row)}"
    return rows


def cut_sequential(row):
    for side, run in (("chosen", row["c"]), ("rejected", row["r"])):
        assert trace(run) == row[side], side
        run["link"] = [{key: s[key] and s[key][:KEPT // 8] for key in ("pmem", "chk", "mem")}
                       for s in run["link"][:STEPS]]
        run["meta"] = {"question": run["meta"]["question"]}
        row[side] = trace(run)


def cut_memories(row):
    for side in ("chosen", "rejected"):
        entries = ast.literal_eval(row[side])
        assert repr(entries) == row[side], side
        for entry in entries:
            assert hashlib.md5(entry["memory"].encode()).hexdigest() == entry["hash"]
        row[side] = repr(entries[:ENTRIES])


def cut(row):
    if row["task"] == "S-Drop":
        cut_sequential(row)
    elif row["task"].startswith("Mem0"):
        cut_memories(row)
    else:
        for side in ("chosen", "rejected"):
            row[side] = row[side][:KEPT]
    row["question"] = row["question"][:KEPT]
    # Numbers, short texts and the runs that a trace was written from stay: readers pass over them.
    return {key: value for key, value in row.items()
            if key in STANDARD or key in ("c", "r") or not isinstance(value, (dict, list))}


def write(name, text):
    (OUT / name).write_text(text, encoding="utf-8")


def main():
    folder = pathlib.Path(sys.argv[1])
    rows = read(folder)
    example = json.loads((folder / "judge_prompt_example.json").read_text(encoding="utf-8"))
    judged = next(r for r in rows["Long-form_Generation"] if r["ctx_length"] == "64k")
    whole = prompt(example, judged)
    assert len(whole) == example["input_text_chars"], len(whole)
    assert sha256(whole) == example["input_text_utf8_sha256"]
    assert whole.endswith(example["input_text_tail"])

    OUT.mkdir(exist_ok=True)
    for name in FILES:
        cut_rows = [cut(row) for row in rows[name]]
        write(f"{name}.jsonl",
              "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in cut_rows))
        judged = next((r for r in cut_rows if r["ctx_length"] == "64k"), judged)
    text = prompt(example, judged)
    example.update(input_text_chars=len(text), input_text_utf8_sha256=sha256(text),
                   input_text_tail=text[-len(example["input_text_tail"]):])
    write("judge_prompt_example.json", json.dumps(example, ensure_ascii=False, indent=1) + "\n")
    write("README.md", README)
    return 0


sys.exit(main())
