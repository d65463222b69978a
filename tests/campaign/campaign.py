#!/usr/bin/env python3
"""A campaign of faults against the program: kills, failing calls, damage, signals, full disks, hostile files.

  run.sh MINUTES [--parts a,b,...] [--out FOLDER] [--seed N]
  run.sh --part PART --case N [--seed N]

Shares the minutes out over the parts by their weights, and goes on from where the last run with the same --out
stopped. FOLDER gets PART.jsonl, a line per case, summary.md, and faults/ with the folders of cases that found
something. Exit code 0: no faults, in this or an earlier run; 1: faults; 2: the command line.
"""
import argparse
import os
import shutil
import signal
import sys
import tempfile
import time

import cases
import summary
from program import Program

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
PART_NAMES = ("kills", "calls", "damage", "signals", "stalls", "conditions", "chaos", "fuzz", "hostile")


def load(names):
    unknown = [n for n in names if n not in PART_NAMES]
    if unknown:
        raise SystemExit(f"error: no such part ({', '.join(unknown)}): there are {', '.join(PART_NAMES)}")
    return [__import__(n) for n in names]


def machine():
    model = "unknown processor"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":")[1].strip()
                break
    return f"{os.cpu_count()} x {model}"


class Campaign:
    def __init__(self, program, parts, options):
        self.program, self.parts, self.options = program, parts, options
        self.stamp = {"commit": options.commit or program.version(), "machine": machine()}
        self.results = {part.NAME: cases.Results(options.out, part.NAME) for part in parts}
        self.kept = os.path.join(options.out, "faults")
        os.makedirs(self.kept, exist_ok=True)

    def run_case(self, part, number):
        result = cases.run_case(part, self.options.seed, number, self.program, self.program.work, self.kept)
        result |= self.stamp | {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        self.results[part.NAME].append(result)
        for fault in result["faults"]:
            print(f"FAULT {part.NAME} {number}: {summary.one_line(fault)}", flush=True)
        return result

    def run_part(self, part, seconds):
        """Cases until the seconds are over or there is none left. -> the seconds that were not needed."""
        results, seed = self.results[part.NAME], self.options.seed
        end = time.monotonic() + seconds
        done = 0
        part_seconds = getattr(part, "seconds", None)
        while time.monotonic() < end and done < self.options.most_cases:
            number = next_case(part, results, seed)
            if number is None:
                break
            if part_seconds:
                part_seconds(end - time.monotonic())
            result = self.run_case(part, number)
            done += 1
            if "skipped" in result:
                print(f"{part.NAME} {number}: skipped: {result['skipped']}", flush=True)
                if not getattr(part, "SKIPS_ONE", False):
                    break
        print(f"{part.NAME}: {done} cases", flush=True)
        self.summarise()
        return max(0.0, end - time.monotonic())

    def run(self):
        end = time.monotonic() + 60 * self.options.minutes
        left = list(self.parts)
        while left:
            part = left.pop(0)
            share = part.WEIGHT / (part.WEIGHT + sum(p.WEIGHT for p in left))
            self.run_part(part, max(1.0, (end - time.monotonic()) * share))

    def all_results(self):
        found = {}
        for name in PART_NAMES:
            lines = self.results[name].lines if name in self.results else cases.Results(self.options.out, name).lines
            if lines:
                found[name] = lines
        return found

    def summarise(self):
        text = summary.text_of(self.all_results())
        summary.write(os.path.join(self.options.out, "summary.md"), "# Campaign\n\n" + text)
        return text


def next_case(part, results, seed):
    """The first case after those that were run which the part has; None: it is through."""
    number = results.next_case(seed)
    many = part.cases(results.of_seed(seed))
    wanted = getattr(part, "wanted", None)
    while wanted and (many is None or number < many) and not wanted(number, results.of_seed(seed)):
        number += 1
    return number if many is None or number < many else None


def parse(arguments):
    parser = argparse.ArgumentParser(usage=__doc__, add_help=True)
    parser.add_argument("minutes", type=float, nargs="?")
    parser.add_argument("--parts", default=",".join(PART_NAMES))
    parser.add_argument("--out", default="campaign", help="folder of results (default: campaign)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", help="with --case: that one case alone, whose folder is kept")
    parser.add_argument("--case", type=int)
    parser.add_argument("--program", help="default: build/elastron")
    parser.add_argument("--libraries", help="the build folder with the libraries to preload (default: the program's)")
    parser.add_argument("--commit", help="default: what the program's version says")
    parser.add_argument("--most-cases", type=int, default=sys.maxsize, help="of each part")
    parser.add_argument("--write", metavar="PAGE", help="write the table of --out between the marks of a page, and end")
    options = parser.parse_args(arguments)
    if not options.write and (options.part is None) != (options.case is None):
        parser.error("--part and --case go together")
    if not options.write and options.part is None and options.minutes is None:
        parser.error("give the minutes, or --part and --case")
    return options


def one_case(program, options):
    """-> exit code."""
    part = load([options.part])[0]
    keep = tempfile.mkdtemp(prefix="campaign-case-")
    result = cases.run_case(part, options.seed, options.case, program, program.work, keep)
    print(f"{part.NAME} {options.case}: {result['counts']} {result.get('skipped', '')}")
    for fault in result["faults"]:
        print(f"FAULT {fault}")
    if not result["faults"]:
        os.rmdir(keep)
        return 0
    print(f"its folder: {result['kept']}")
    return 1


def main(arguments):
    options = parse(arguments)
    if options.write:
        results = {n: cases.Results(options.out, n).lines for n in PART_NAMES}
        summary.write_into(options.write, summary.text_of({n: r for n, r in results.items() if r}))
        return 0
    program = Program(SOURCE, options.program, options.libraries)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))  # by way of what cleans up
    try:
        if options.part:
            return one_case(program, options)
        options.out = os.path.abspath(options.out)
        os.makedirs(options.out, exist_ok=True)
        campaign = Campaign(program, load(options.parts.split(",")), options)
        campaign.run()
        print(campaign.summarise())
        return int(any(r["faults"] for lines in campaign.all_results().values() for r in lines))
    finally:
        program.end_all()
        shutil.rmtree(program.work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
