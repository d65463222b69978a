#!/usr/bin/env python3
"""Writes tests/fixtures/benchmark/scores.jsonl: texts, and what the packages of benchmark_cases.py say about them.

    python3 tests/oracle/make_score_fixtures.py            (pip install rouge==1.0.1 rapidfuzz numpy)
"""
import itertools
import json
import pathlib

import benchmark_cases as cases


def main():
    path = pathlib.Path(__file__).parents[1] / "fixtures" / "benchmark" / "scores.jsonl"
    path.parent.mkdir(exist_ok=True)
    short = (case for case in cases.random_cases(8000, 11) if len(case["pred"]) + len(case["answer"]) < 90)
    with open(path, "w", encoding="utf-8") as out:
        for case in itertools.chain(itertools.islice(short, 1400), cases.mean_cases(8, 3)):
            if case["metric"].endswith("mean"):
                case["values"] = [round(value, 3) for value in case["values"][:150]]
            out.write(json.dumps({**case, "expected": cases.expected(case)}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
