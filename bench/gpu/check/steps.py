"""Runs steps of a check one after the other, each within its own limit, its part's and the whole's."""
import re
import time

from bounded import run

LEAST = 4  # seconds: with less left a step is not begun


class Budget:
    """Limits in seconds. limit: the most for any step, whatever it asks; grace: to end after TERM; slow: by
    how much this machine is slower than what steps and parts ask for."""

    def __init__(self, seconds, limit, grace, slow):
        self.end, self.limit, self.grace, self.slow = time.monotonic() + seconds, limit, grace, slow
        self.part_end = self.end

    def begin_part(self, seconds):
        self.part_end = min(self.end, time.monotonic() + self.slow * seconds)

    def left(self):
        """For the next step, its time to end put aside."""
        return self.part_end - time.monotonic() - self.grace


class Steps:
    def __init__(self, report, budget):
        self.report, self.budget, self.number = report, budget, 0

    def part(self, number, seconds):
        self.report.pack()
        self.number = number
        self.budget.begin_part(seconds)

    def run(self, name, limit, command, env=None):
        """-> whether it passed"""
        left, limit = self.budget.left(), limit * self.budget.slow
        if left < min(LEAST, limit):
            self.report.leave_out(name, "no time was left")
            return False
        log = self.report.log(name)
        ended = run(command, log, min(limit, left, self.budget.limit), self.budget.grace, env)
        why = ended.why()
        if why:
            why += where(log)
        self.report.add(self.number, name, why, ended.seconds)
        return not why

    def look(self, name, call):
        """A comparison by this process, quick and sure to end. AssertionError and missing files fail it."""
        begin, why = time.monotonic(), ""
        try:
            said = call()
            with open(self.report.log(name), "w") as log:
                log.write(f"{said}\n")
        except (AssertionError, OSError, KeyError, ValueError) as e:
            why = f"{type(e).__name__}: {e}" if not isinstance(e, AssertionError) else str(e)
        self.report.add(self.number, name, why, time.monotonic() - begin)
        return not why


def where(log):
    """Of a log of tests or of the program: the test that had begun and not ended, those that failed,
    or the error line."""
    with open(log, errors="replace") as file:
        text = file.read()
    begun = re.findall(r"^\[ RUN      \] (\S+)", text, re.M)
    ended = re.findall(r"^\[(?:       OK |  FAILED  |  SKIPPED ) *\] (\S+?),? ", text, re.M)
    failed = list(dict.fromkeys(re.findall(r"^\[  FAILED  \] (\S+?),? ", text, re.M)))
    if begun and begun[-1] not in ended:
        return f", in {begun[-1]}"
    if failed:
        return f", in {', '.join(failed[:5])}"
    errors = re.findall(r"^(?:error|failed): (.*)", text, re.M)
    return f": {errors[-1][:200]}" if errors else ""
