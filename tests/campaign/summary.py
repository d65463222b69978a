"""The table of a campaign, from its files of results; in FOLDER/summary.md, and between the marks of a page."""
import collections
import os

BEGIN, END = "<!-- campaign -->", "<!-- end of campaign -->"


def distinct(results, key):
    return ", ".join(sorted({str(r[key]) for r in results if key in r}))


def command_of(result):
    return f"tests/campaign/run.sh --part {result['part']} --case {result['case']} --seed {result['seed']}"


def row(part, results):
    run = [r for r in results if "skipped" not in r]
    counts = collections.Counter()
    for r in run:
        counts.update(r["counts"])
    tried = ", ".join(f"{n:,} {what}" for what, n in counts.items())
    faults = sum(bool(r["faults"]) for r in run)
    seconds = sum(r["seconds"] for r in run)
    if not run:
        tried = "skipped: " + "; ".join(sorted({r["skipped"] for r in results})) if results else "not run"
    return [part, f"{len(run):,}", tried, str(faults), f"{seconds:,.0f}", distinct(run, "commit"),
            distinct(run, "machine"), distinct(run, "seed")]


def table(parts):
    """parts: {name: results}. -> lines of Markdown."""
    lines = ["| part | cases | tried | cases with faults | seconds | commit | machine | seed |",
             "|---|---|---|---|---|---|---|---|"]
    lines += ["| " + " | ".join(row(name, results)) + " |" for name, results in parts.items()]
    return lines


def faults(parts):
    lines = []
    for results in parts.values():
        for r in results:
            if r["faults"]:
                lines.append(f"- `{command_of(r)}` ({r['commit']}): {one_line(r['faults'][0])}"
                             + (f" (and {len(r['faults']) - 1} more)" if len(r["faults"]) > 1 else ""))
            if "skipped" in r and len(results) > 1:
                lines.append(f"- {r['part']} {r['case']} was skipped: {r['skipped']}")
    return lines


def one_line(text):
    return " ".join(text.split())[:400]


def text_of(parts):
    found = faults(parts)
    return "\n".join(table(parts) + ["", "Faults:" if found else "No faults.", ""] + found).rstrip() + "\n"


def write(path, text):
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".new", path)


def write_into(page, text):
    """Between the marks of a page."""
    with open(page, encoding="utf-8") as file:
        whole = file.read()
    if whole.count(BEGIN) != 1 or whole.count(END) != 1:
        raise SystemExit(f"error: the page has no marks ({page}): write {BEGIN} and {END} where the table belongs")
    write(page, whole[:whole.index(BEGIN) + len(BEGIN)] + "\n" + text + whole[whole.index(END):])
