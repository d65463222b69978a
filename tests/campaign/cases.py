"""Cases of a campaign: what one is given, what comes of it, and the file of results that a part goes on with."""
import json
import os
import random
import shutil
import time


class Skip(Exception):
    """The machine has not what a case needs."""


class Case:
    """One case of a part: its random numbers, its own empty folder, what it has counted and the faults it has seen."""

    def __init__(self, part, seed, number, program, folder):
        self.part, self.seed, self.number, self.program = part, seed, number, program
        self.random = random.Random(f"{seed}/{part}/{number}")
        self.folder = folder
        self.counts, self.faults, self.note = {}, [], ""
        self._notes = {}

    def path(self, name):
        return os.path.join(self.folder, name)

    def count(self, what, number=1):
        self.counts[what] = self.counts.get(what, 0) + number

    def expect(self, holds, fault):
        """Notes a fault where it does not hold; -> whether it does."""
        if not holds:
            self.faults.append(fault)
        return bool(holds)

    def result(self, seconds):
        return {"part": self.part, "seed": self.seed, "case": self.number, "faults": self.faults, "counts": self.counts,
                "note": self.note, "seconds": round(seconds, 3)}


def run_case(part, seed, number, program, work, keep=None):
    """Runs one case. -> its result, with why it was skipped, if so. `keep`: where the folder of a case with faults goes.

    An exception of the case's own code is a fault too: nothing that went otherwise than expected is passed over.
    """
    folder = os.path.join(work, f"{part.NAME}-{seed}-{number}")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    case = Case(part.NAME, seed, number, program, folder)
    begin = time.monotonic()
    skipped = None
    try:
        part.run(case)
    except Skip as reason:
        skipped = str(reason)
    except Exception as error:  # a case that cannot be judged is no success
        case.faults.append(f"{type(error).__name__}: {error}")
    finally:
        left = program.end_all()
        if left and not skipped:
            case.faults.append(f"{left} processes were left at the end of the case")
    result = case.result(time.monotonic() - begin)
    if skipped is not None:
        result["skipped"] = skipped
    if case.faults and keep:
        kept = os.path.join(keep, os.path.basename(folder))
        shutil.rmtree(kept, ignore_errors=True)
        shutil.move(folder, kept)
        result["kept"] = kept
    shutil.rmtree(folder, ignore_errors=True)
    return result


class Results:
    """A part's results: FOLDER/PART.jsonl, a line per case, appended as it ends."""

    def __init__(self, folder, part):
        self.path = os.path.join(folder, part + ".jsonl")
        self.lines = []
        whole = 0
        try:
            with open(self.path, "rb") as file:
                for line in file:
                    if not line.endswith(b"\n"):
                        break  # the campaign itself was killed while it wrote
                    self.lines.append(json.loads(line))
                    whole += len(line)
            os.truncate(self.path, whole)
        except FileNotFoundError:
            pass

    def append(self, result):
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
        self.lines.append(result)

    def of_seed(self, seed):
        """By case number."""
        return {line["case"]: line for line in self.lines if line["seed"] == seed and "skipped" not in line}

    def next_case(self, seed):
        return max(self.of_seed(seed), default=-1) + 1
