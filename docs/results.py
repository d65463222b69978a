#!/usr/bin/env python3
"""Takes a reproduction's results into the documentation: docs/results.md with its figures, and the block of README.md
between the marks "results" and "end of results", so that no number of either is typed.

    docs/results.py runs/reproduction-full     # after launch/reproduce.sh full
    docs/results.py --check                    # whether README.md says what docs/results.md says
"""
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs/results.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- results -->\n", "<!-- end of results -->\n"
ACCURACY, MSR = "Accuracy by kind;", "MSR by kind"
FIGURE = "results/fig1-mixture.svg"


def fail(what, where, do):
    sys.exit(f"error: {what} ({where}): {do}")


def table_after(lines, heading):
    """The rows of the first table behind the line that begins with `heading`: lists of cells, the heads first."""
    for i, line in enumerate(lines):
        if line.startswith(heading):
            rows = []
            for row in lines[i + 1:]:
                if row.startswith("|"):
                    rows.append([cell.strip() for cell in row.strip().strip("|").split("|")])
                elif rows:
                    break
            return [rows[0]] + rows[2:]
    fail(f"no table '{heading}'", RESULTS, "give the results of launch/reproduce.sh")


def fact(lines, name):
    for line in lines:
        match = re.match(rf"\| {name} \| (.*) \|$", line)
        if match:
            return match[1]
    fail(f"'{name}' is not there", RESULTS, "give the results of launch/reproduce.sh")


def short(cell):
    return f"{float(cell):.3f}" if re.fullmatch(r"-?[0-9.]+(e-?[0-9]+)?", cell) else cell


def block(text):
    lines = text.split("\n")
    accuracy, msr = table_after(lines, ACCURACY), table_after(lines, MSR)
    column = {name: i for i, name in enumerate(accuracy[0])}
    sparse_share = {(row[0], row[1]): row[column["all"]] for row in msr[1:]}
    out = ["| heads | at | MSR | sensitive kinds | robust kinds | all kinds | 95 % interval |",
           "|---|---|---:|---:|---:|---:|---|"]
    for row in accuracy[1:]:
        of = lambda name: row[column[name]]
        low, high = of("95 % low"), of("95 % high")
        interval = f"{short(low)} to {short(high)}" if low and high else ""
        numbers = [sparse_share[row[0], row[1]], of("sensitive"), of("robust"), of("all")]
        out.append(f"| {row[0]} | {row[1]} | {' | '.join(map(short, numbers))} | {interval} |")
    verdict = next(line for line in lines if re.match(r"\d+ claims? hold", line)).split(";")[0]
    return "\n".join([
        f"![accuracy against the share of sparse heads](docs/{FIGURE})", "", *out, "",
        f"Means over seeds, of commit {fact(lines, 'Commit')} on {fact(lines, 'Machine')} "
        f"(`launch/reproduce.sh {fact(lines, 'Mode')}`). {verdict}: [all results](docs/results.md).", ""])


def readme_with(text):
    readme = README.read_text()
    if BEGIN not in readme or END not in readme:
        fail("the marks are not there", README, f"put {BEGIN.strip()} and {END.strip()} where the results belong")
    before, rest = readme.split(BEGIN)
    return before + BEGIN + block(text) + END + rest.split(END)[1]


def main():
    if sys.argv[1:] == ["--check"]:
        if README.read_text() != readme_with(RESULTS.read_text()):
            fail("the results are not those of docs/results.md", README, "run docs/results.py with the results")
        missing = [link for link in re.findall(r"\((results/[^)]+)\)", RESULTS.read_text())
                   if not (ROOT / "docs" / link).exists()]
        if missing:
            fail(f"no figure {missing[0]}", RESULTS, "run docs/results.py with the results")
        return
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "results.md").exists():
        sys.exit(__doc__)
    source = Path(sys.argv[1])
    text = (source / "results.md").read_text()
    readme = readme_with(text)
    shutil.rmtree(ROOT / "docs/results", ignore_errors=True)
    shutil.copytree(source / "results", ROOT / "docs/results")
    RESULTS.write_text(text)
    README.write_text(readme)


main()
