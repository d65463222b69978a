"""Ranks that are stopped, hang or are lost: the watchdog ends the job within its time with one line that names who is
missing; one that is woken in time changes nothing; a lost one is made good by --restarts."""
import signal
import time

import training
from program import ORPHAN_SECONDS, last_line, name_of

NAME = "stalls"
WEIGHT = 1
KINDS = ("stopped", "stopped while starting", "woken in time", "hanging storage", "lost, with a restart")
STEPS = 8
# What the watchdog waits; a step must fit in it on a busy machine.
TIMEOUT = 15
# From the watchdog's line to the end of what mpirun has started: docs/hosts.md has ten seconds.
END_SECONDS = 45


def cases(_results):
    return None


def run(case):
    kind = KINDS[case.number % len(KINDS)]
    case.note = kind
    whole = training.undisturbed(case.program, 2, steps=STEPS)
    folder = training.Folder(case, case.path("run"))
    command = training.arguments(case.program, folder.path, steps=STEPS, parallel__timeout_seconds=TIMEOUT)
    environment, launcher = {}, ()
    if kind == "hanging storage":
        environment = {"LD_PRELOAD": case.program.library("slow_storage"), "SLOW_PATH": "/checkpoints/", "SLOW_BYTES": "1"}
    if kind == "lost, with a restart":
        launcher = ("--restarts", "2")
    job = case.program.start(command, case.path("log"), 2, environment, launcher=launcher)
    step = 0 if kind == "stopped while starting" else 1 if kind == "hanging storage" else case.random.randint(1, 3)
    job.wait_until(lambda: training.reached(job.log()) >= step and len(job.ranks(case.program.path)) == 2)
    job.wait_until(lambda: False, seconds=case.random.random() * (whole.step if step else whole.start / 2))
    begin = time.monotonic()
    ranks = job.ranks(case.program.path)
    chosen = case.random.randrange(2)
    if chosen in ranks and not job.ended():
        {"stopped": stop, "stopped while starting": stop, "woken in time": wake, "hanging storage": lambda *_: None,
         "lost, with a restart": lose}[kind](job, ranks, chosen)
        case.count("ranks")
    else:
        case.count("came too late")
    outcome = job.wait(TIMEOUT + END_SECONDS + ORPHAN_SECONDS)
    seconds = time.monotonic() - begin
    left = job.left_after()
    case.expect(not left, f"{kind}: still running after {ORPHAN_SECONDS} s: {left}")
    folder.check(outcome.err, kind)
    if "came too late" in case.counts or kind in ("woken in time", "lost, with a restart"):
        folder.expect_whole(outcome, whole, kind)
        return
    expect_ended(case, outcome, kind, chosen, seconds)
    if not case.faults:
        folder.expect_whole(case.program.run(training.arguments(case.program, folder.path, steps=STEPS), 2), whole,
                            f"{kind}: the start after it")


def stop(job, ranks, chosen):
    job.send(signal.SIGSTOP, [ranks[chosen]])


def wake(job, ranks, chosen):
    job.send(signal.SIGSTOP, [ranks[chosen]])
    time.sleep(TIMEOUT / 3)
    job.send(signal.SIGCONT, [ranks[chosen]])


def lose(job, ranks, chosen):
    job.send(signal.SIGKILL, [ranks[chosen]])


def expect_ended(case, outcome, kind, chosen, seconds):
    if not case.expect(outcome.code != -signal.SIGALRM, f"{kind}: it hangs after {seconds:.0f} s, {last_line(outcome.err)}"):
        return
    fault = outcome.fault_of_contract((6,))
    if not case.expect(not fault, f"{kind}: {fault}"):
        return
    line = outcome.error_lines()[0]
    case.expect("no progress for" in line, f"{kind}: {line}")
    if kind.startswith("stopped"):
        case.expect(f"missing: rank {chosen}" in line, f"rank {chosen} was stopped: {line}")
    case.expect(seconds <= TIMEOUT + END_SECONDS,
                f"{kind}: it took {seconds:.0f} s, {name_of(outcome.code)}: {last_line(outcome.err)}")
    case.count("ended by the watchdog")
