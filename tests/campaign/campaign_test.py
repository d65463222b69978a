#!/usr/bin/env python3
"""That a campaign finds what it looks for: stand-ins for the program that do wrong are reported, its files go on where
they stopped, and a case of each cheap part passes on the program itself.

  campaign_test.py PROGRAM LIBRARIES [TESTS...]"""
import contextlib
import io
import json
import os
import re
import shutil
import stat
import sys
import tempfile
import unittest

import calls
import campaign
import cases
import damage
import kills
import program as program_module
import summary
from program import Outcome, Program

PROGRAM, LIBRARIES = os.path.abspath(sys.argv.pop(1)), os.path.abspath(sys.argv.pop(1))

# The program, but for what stands between. $real is the program itself.
STAND_IN = """#!/bin/bash
real={real}
{wrong}
exec "$real" "$@"
"""
WRONG = {
    # What is damaged is taken for whole, with other values; only a file in a run's folder is read at all.
    "takes damage": """if [ "$1" = inspect ] && [[ "$3" != */checkpoints/* ]] && [ -f "$3" ]; then
  echo '{"step": 24, "tensors": []}'; exit 0; fi""",
    "crashes": """if [ "$1" = inspect ] && [ -f "$3" ] && [[ "$3" != */checkpoints/* ]]; then kill -SEGV $$; fi""",
    "says it twice": """if [ "$1" = inspect ]; then "$real" "$@" || { code=$?; echo "error: again" >&2; exit $code; }; exit; fi""",
    "loses checkpoints": """for a; do case $a in output.dir=*/kills-*/run)
  n=$(cat "${a#*=}.starts" 2>/dev/null || echo 0); echo $((n + 1)) >"${a#*=}.starts"
  [ $((n % 2)) -eq 0 ] || rm -rf "${a#*=}/checkpoints" ;; esac; done""",
    "leaves a process": """if [ "$1" = inspect ]; then (sleep 600 >/dev/null 2>&1 &) ; fi""",
    "hides a failing call": """if [ -n "$FAIL_AT" ]; then "$real" "$@" 2>/dev/null; [ -e "$FAIL_REPORT" ] && exit 1; exit 0; fi""",
}


class Found(unittest.TestCase):
    """Faults that are put into a stand-in."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="campaign-test-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def stand_in(self, wrong):
        path = os.path.join(self.folder, "elastron")
        with open(path, "w", encoding="utf-8") as file:
            file.write(STAND_IN.format(real="'" + PROGRAM + "'", wrong=WRONG[wrong]))
        os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
        work = os.path.join(self.folder, "work")
        os.makedirs(work)
        return Program(campaign.SOURCE, path, LIBRARIES, work)

    def expect_fault(self, part, wrong, fault, numbers=range(4)):
        program = self.stand_in(wrong)
        found = []
        for number in numbers:
            result = cases.run_case(part, 1, number, program, program.work)
            found += result["faults"]
            if any(re.search(fault, f) for f in found):
                return
        self.fail(f"{wrong}: not reported, but {found}")

    def test_damage_that_is_taken(self):
        self.expect_fault(damage, "takes damage", "taken, and what is read is not what was written")

    def test_a_crash(self):
        self.expect_fault(damage, "crashes", "ended with SIGSEGV")

    def test_two_lines_of_error(self):
        self.expect_fault(damage, "says it twice", "with 2 lines of error")

    def test_lost_checkpoints(self):
        self.expect_fault(kills, "loses checkpoints", "was saved, `latest` says|went on from step")

    def test_a_process_that_is_left(self):
        seconds, program_module.ORPHAN_SECONDS = program_module.ORPHAN_SECONDS, 0.5
        try:
            self.expect_fault(damage, "leaves a process", "processes were left")
        finally:
            program_module.ORPHAN_SECONDS = seconds

    def test_a_failing_call_that_is_hidden(self):
        first = calls.PAIRS.index(("router", "fsync"))
        self.expect_fault(calls, "hides a failing call", "ended with exit code 1|lines of error", [first])


class Files(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="campaign-test-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def test_results_go_on_behind_a_line_that_was_cut(self):
        results = cases.Results(self.folder, "kills")
        for number in range(3):
            results.append({"part": "kills", "seed": 1, "case": number, "faults": [], "counts": {}, "seconds": 1})
        with open(results.path, "a", encoding="utf-8") as file:
            file.write('{"part": "ki')
        again = cases.Results(self.folder, "kills")
        self.assertEqual(again.next_case(1), 3)
        self.assertEqual(again.next_case(2), 0)
        again.append({"part": "kills", "seed": 1, "case": 3, "faults": [], "counts": {}, "seconds": 1})
        self.assertEqual(len(cases.Results(self.folder, "kills").lines), 4)

    def test_a_fault_is_in_the_table_and_in_the_exit_code(self):
        results = cases.Results(self.folder, "damage")
        results.append({"part": "damage", "seed": 7, "case": 12, "faults": ["bits at 3: taken"], "counts": {"files": 1200},
                        "seconds": 2, "commit": "abc", "machine": "2 x some"})
        text = summary.text_of({"damage": results.lines})
        self.assertIn("| damage | 1 | 1,200 files | 1 | 2 | abc | 2 x some | 7 |", text)
        self.assertIn("tests/campaign/run.sh --part damage --case 12 --seed 7", text)
        with contextlib.redirect_stdout(io.StringIO()):
            code = campaign.main(["0", "--parts", "kills", "--most-cases", "0", "--out", self.folder, "--program", PROGRAM])
        self.assertEqual(code, 1)
        page = os.path.join(self.folder, "page.md")
        with open(page, "w", encoding="utf-8") as file:
            file.write(f"before\n{summary.BEGIN}\nold\n{summary.END}\nbehind\n")
        campaign.main(["--write", page, "--out", self.folder])
        with open(page, encoding="utf-8") as file:
            self.assertEqual(file.read(), f"before\n{summary.BEGIN}\n{text}{summary.END}\nbehind\n")

    def test_calls_end_where_the_program_makes_fewer(self):
        done = {}
        most = {pair: index % 4 for index, pair in enumerate(calls.PAIRS)}
        tried = []
        results = cases.Results(self.folder, "calls")
        while (number := campaign.next_case(calls, results, 1)) is not None:
            pair, call = calls.pair_of(number)
            beyond = call > most[pair]
            tried.append((pair, call))
            results.append({"part": "calls", "seed": 1, "case": number, "faults": [],
                            "counts": {"beyond the last": 1} if beyond else {"calls": 1}, "seconds": 0})
        done = {pair: [c for p, c in tried if p == pair] for pair in calls.PAIRS}
        self.assertEqual(done, {pair: list(range(1, n + 2)) for pair, n in most.items()})

    def test_contract(self):
        self.assertEqual(Outcome(4, "", "error: a (b): c\n").fault_of_contract(), "")
        for outcome in (Outcome(-11, "", ""), Outcome(1, "", "error: a\n"), Outcome(4, "", ""), Outcome(0, "", "error: a\n"),
                        Outcome(4, "", "error: a\nerror: b\n"), Outcome(6, "", "error: internal error: x\n")):
            self.assertNotEqual(outcome.fault_of_contract(), "")


class Quick(unittest.TestCase):
    def test_a_case_of_each_cheap_part(self):
        with tempfile.TemporaryDirectory() as folder:
            parts = "kills,damage,calls,signals,conditions,hostile"
            code = campaign.main(["30", "--parts", parts, "--most-cases", "1", "--out", folder, "--program", PROGRAM,
                                  "--libraries", LIBRARIES])
            self.assertEqual(code, 0)
            for part in parts.split(","):
                with open(os.path.join(folder, part + ".jsonl"), encoding="utf-8") as file:
                    self.assertEqual(len([json.loads(line) for line in file]), 1, part)


if __name__ == "__main__":
    unittest.main()
