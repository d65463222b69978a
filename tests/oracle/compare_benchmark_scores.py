#!/usr/bin/env python3
"""Compares the scores of benchmark/ with PyPI's packages and Python on random and adversarial texts.

    python3 tests/oracle/compare_benchmark_scores.py build/tests/benchmark/score_probe [CASES [SEED]]

Default: 120000 pairs beside every character of Unicode that this Python knows (new ones of a later version are passed
over), long texts and means. Ends with 1 where any differs by more than 1e-9.   (pip install rouge==1.0.1 rapidfuzz numpy)
"""
import collections
import itertools
import json
import subprocess
import sys
import tempfile

import benchmark_cases as cases


def main():
    probe = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 120000
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    asked = collections.Counter()
    wrong = collections.Counter()
    every = itertools.chain(cases.random_cases(count, seed), cases.character_cases(), cases.long_cases(),
                            cases.mean_cases(4000, seed))
    while block := list(itertools.islice(every, 20000)):
        with tempfile.TemporaryFile("w+") as questions:
            questions.writelines(json.dumps(case) + "\n" for case in block)
            questions.seek(0)
            out = subprocess.run([probe], stdin=questions, stdout=subprocess.PIPE, check=True)
        answers = out.stdout.decode().split("\n")[:-1]
        assert len(answers) == len(block), "the probe gave %d lines for %d" % (len(answers), len(block))
        for case, line in zip(block, answers):
            asked[case["metric"]] += 1
            wanted, got = cases.expected(case), json.loads(line)
            if not cases.same(got, wanted):
                wrong[case["metric"]] += 1
                if wrong[case["metric"]] <= 3:
                    print("DIFFERS: got %r, expected %r for %s" % (got, wanted, json.dumps(case)[:600]))
    for metric, number in sorted(asked.items()):
        print("%-14s %7d cases, %d differ" % (metric, number, wrong[metric]))
    print("%d cases, %d differ" % (sum(asked.values()), sum(wrong.values())))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
