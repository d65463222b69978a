#!/usr/bin/env python3
"""Puts faults back, one at a time, and sees that a test fails of each: faults.py has them.

put_back.py [--work FOLDER] [--cmake ARGUMENT]... [--only TEXT]... [--list | --check]

Works on a copy of the last commit in FOLDER (default build-faults, kept: what it has built is not built again),
never on the tree itself. Each test must pass first as things are. Ends with 1 where a fault is not found, and prints
a row for each.

--only    faults whose name has TEXT in it
--list    their names
--check   only that every edit still fits the sources, on this tree: one place each
"""
import argparse
import os
import subprocess
import sys
import time

from faults import FAULTS

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LONGEST = 1200  # seconds of a test


def misfits(folder):
    """Rows whose edit has no place, or several."""
    for fault in FAULTS:
        with open(os.path.join(folder, fault.file)) as file:
            places = file.read().count(fault.old)
        if places != 1 or fault.new == fault.old:
            yield f"{fault.name}: its text stands {places} times in {fault.file}"


class Copy:
    """Of the last commit, built beside the sources."""

    def __init__(self, folder, cmake):
        self.source, self.build = os.path.join(folder, "source"), os.path.join(folder, "build")
        self.git("worktree", "prune")
        if os.path.isdir(self.source):
            self.git("-C", self.source, "checkout", "-q", "--detach", "--force", self.head())
        else:
            self.git("worktree", "add", "-q", "--detach", self.source, self.head())
        deps = os.path.join(SOURCE, ".deps")
        if os.path.isdir(deps) and not os.path.exists(os.path.join(self.source, ".deps")):
            os.symlink(deps, os.path.join(self.source, ".deps"))
        self.must(["cmake", "-S", self.source, "-B", self.build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release"] + cmake)

    @staticmethod
    def git(*arguments):
        subprocess.run(["git", "-C", SOURCE] + list(arguments), check=True)

    @staticmethod
    def head():
        return subprocess.run(["git", "-C", SOURCE, "rev-parse", "HEAD"], check=True, capture_output=True,
                              text=True).stdout.strip()

    @staticmethod
    def must(command):
        ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if ended.returncode != 0:
            sys.exit(f"{ended.stdout[-4000:]}\nerror: {' '.join(command)} ended with {ended.returncode}")

    def made(self, targets):
        """-> what the compiler said, "" where all is well"""
        if not targets:
            return ""
        ended = subprocess.run(["cmake", "--build", self.build, "--target"] + list(targets),
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return "" if ended.returncode == 0 else ended.stdout[-2000:]

    def test(self, command):
        """-> exit code and what it said"""
        try:
            ended = subprocess.run(command, cwd=self.build, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   text=True, errors="replace", timeout=LONGEST)
        except subprocess.TimeoutExpired as e:
            return 124, (e.stdout or b"").decode(errors="replace")
        return ended.returncode, ended.stdout

    def edited(self, file, text):
        with open(os.path.join(self.source, file), "w") as out:
            out.write(text)


def found(copy, fault, passes):
    """-> what became of a fault: "found", or why not"""
    path = os.path.join(copy.source, fault.file)
    with open(path) as file:
        text = file.read()
    key = tuple(fault.targets + fault.command)
    if key not in passes:
        said = copy.made(fault.targets)
        code, output = (1, said) if said else copy.test(fault.command)
        passes[key] = code == 0
        if code != 0:
            print(output[-2000:])
    if not passes[key]:
        return "the test fails without it"
    copy.edited(fault.file, text.replace(fault.old, fault.new))
    try:
        if said := copy.made(fault.targets):
            return f"it does not compile: {said}"
        code, output = copy.test(fault.command)
        if code == 0:
            return "NOT FOUND"
        return "found" if fault.says in output else f"the test says something else: {output[-2000:]}"
    finally:
        copy.edited(fault.file, text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", default=os.path.join(SOURCE, "build-faults"))
    parser.add_argument("--cmake", action="append", default=[])
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    chosen = [f for f in FAULTS if not options.only or any(text in f.name for text in options.only)]
    if not chosen:
        print(f"error: no fault has {' or '.join(options.only)} in its name (--only): --list names them", file=sys.stderr)
        return 2
    if options.list:
        print("\n".join(f.name for f in chosen))
        return 0
    if options.check:
        wrong = list(misfits(SOURCE))
        print("\n".join(wrong) or f"{len(FAULTS)} faults, each in one place")
        return 1 if wrong else 0
    copy, passes, missed = Copy(os.path.abspath(options.work), options.cmake), {}, 0
    for fault in chosen:
        begin = time.monotonic()
        what = found(copy, fault, passes)
        missed += what != "found"
        print(f"| {fault.name} | {' '.join(fault.command)} | {what} | {time.monotonic() - begin:.0f} s |", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
