#!/usr/bin/env python3
"""Compares a file of `elastron pack` with the data path written once more in Python.

    python3 tests/oracle/compare_packing.py --model DIR --in FILES --packed FILE.h5
        (pip install tokenizers transformers jinja2 h5py numpy)

Options that pack was called with and that the file does not say are given again (--min-tokens,
prompts). Prints every pack that differs, and ends with 1 when one does.
"""
import argparse
import sys

import h5py
import numpy as np

import packing_reference as reference


def read_packed(path):
    """-> (attributes, rows with the reference's columns), from the datasets docs/data.md describes."""
    with h5py.File(path, "r") as file:
        attributes = {k: v.decode() if isinstance(v, bytes) else v for k, v in file.attrs.items()}
        column = {name: file[name][()] for name in file}
    answer_only = attributes["label_mode"] == "answer"
    rows = []
    for first, last in zip(column["pack_offsets"][:-1], column["pack_offsets"][1:]):
        offsets = column["document_offsets"][first:last + 1]
        ids = column["input_ids"][offsets[0]:offsets[-1]].astype(np.int64)
        labels, ranges = ids.copy(), []
        for d in range(first, last):
            begin, end = (int(o - offsets[0]) for o in column["document_offsets"][d:d + 2])
            user = int(column["user_lengths"][d])
            labels[begin:begin + max(1, user if answer_only else 1)] = -100
            ranges.append([0, 0, 0, user - 1, 0, user - 1, user, end - begin - 1])
        tasks = column["task_ids"][first:last].tolist()
        rows.append({"input_ids": ids.tolist(), "labels": labels.tolist(),
                     "seq_lengths": (offsets - offsets[0]).tolist(), "task_ids": tasks,
                     "task_type": [reference.TASKS[t] for t in tasks], "range_ids": ranges})
    return attributes, rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--in", dest="files", nargs="+", required=True)
    parser.add_argument("--packed", required=True)
    parser.add_argument("--min-tokens", type=int, default=1000)
    for prompt in ("summarization-before", "summarization-after", "code-before"):
        parser.add_argument("--" + prompt, default="")
    arguments = parser.parse_args()
    attributes, found = read_packed(arguments.packed)
    options = {key: attributes[key]
               for key in ("max_tokens", "packing", "label_mode", "chat_template")}
    options |= {"min_tokens": arguments.min_tokens,
                "summarization_before": arguments.summarization_before,
                "summarization_after": arguments.summarization_after,
                "code_before": arguments.code_before}

    def lines():
        for path in arguments.files:
            with open(path, encoding="utf-8-sig") as file:
                yield from file

    wanted, dropped = reference.pack(lines(), reference.Model(arguments.model), options)
    differences = 0
    if len(wanted) != len(found):
        print(f"{len(found)} packs in the file, {len(wanted)} by the reference")
        differences += 1
    for p, (a, b) in enumerate(zip(wanted, found)):
        for column in a:
            if a[column] != b[column]:
                at = next((i for i, (x, y) in enumerate(zip(a[column], b[column])) if x != y),
                          min(len(a[column]), len(b[column])))
                print(f"pack {p}: {column} differs at {at}: reference "
                      f"{a[column][at:at + 6]}, file {b[column][at:at + 6]}")
                differences += 1
    documents = sum(len(row["task_ids"]) for row in found)
    tokens = sum(len(row["input_ids"]) for row in found)
    print(f"{len(found)} packs, {documents} documents, {tokens} tokens compared; dropped by the "
          f"reference: {dropped or 'none'}; {differences} differences")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
