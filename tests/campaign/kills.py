"""SIGKILL at random moments, of the whole job, one rank, the launcher or mpirun: no checkpoint is lost, no process is
left, and going on ends where an undisturbed run does.

A case is one folder: starts and kills in turn, then a start to the end.
"""
import signal
import time

import training
from program import ORPHAN_SECONDS

NAME = "kills"
WEIGHT = 6
KILLS = 8  # of a case
TARGETS = {0: ["all"], 1: ["all", "rank 0", "launcher"], 2: ["all", "rank 0", "rank 1", "launcher", "mpirun"]}


def cases(_results):
    return None


def run(case):
    ranks = case.random.choices([0, 1, 2], [5, 3, 2])[0]
    whole = training.undisturbed(case.program, ranks)
    case.note = f"{ranks or 'no launcher, 1'} ranks"
    folder = training.Folder(case, case.path("run"))
    command = training.arguments(case.program, folder.path)
    for number in range(KILLS):
        before = folder.least
        job = case.program.start(command, case.path(f"log.{number}"), ranks)
        phase = case.random.choices(["start", "step", "save", "end"], [3, 4, 4, 1])[0]
        target = case.random.choice(TARGETS[ranks])
        what = f"kill {number + 1}, of {target} in {phase}, {case.note}"
        wait_for(case, job, phase, whole, folder)
        if job.ended():  # it came to its end first
            folder.check(job.log(), what)
            break
        kill(case, job, target, what)
        case.count("kills")
        case.count(f"in {phase}")
        folder.check(job.log(), what)
        folder.expect_resumed(job.log(), before, what)
        if case.faults:
            return
    before = folder.least
    outcome = case.program.run(command, ranks)
    folder.expect_resumed(outcome.err, before, "the last start")
    folder.check(outcome.err, "the last start")
    folder.expect_whole(outcome, whole, "the last start")


def wait_for(case, job, phase, whole, folder):
    """Until a moment in the phase, drawn from how long an undisturbed run takes for it."""
    draw = case.random.random()
    steps = case.random.randint(1, 3)
    begin = folder.least
    if phase == "start":
        delay = draw * whole.start
    elif phase == "step":
        job.wait_until(lambda: training.reached(job.log()) >= begin + steps)
        delay = draw * whole.step
    elif phase == "save":
        job.wait_until(lambda: training.reached(job.log()) >= begin + steps)
        if job.wait_until(lambda: training.checkpoints(folder.path)[1], seconds=2 * whole.step + 1, pause=0):
            case.count("with a temporary file")
        delay = draw * whole.step / 4
    else:
        job.wait_until(lambda: training.reached(job.log()) >= training.STEPS)
        delay = draw * whole.end
    end = time.monotonic() + delay
    while time.monotonic() < end and not job.ended():
        time.sleep(min(0.001, max(0.0, end - time.monotonic())))


def kill(case, job, target, what):
    ranks = job.ranks(case.program.path) if target.startswith("rank") else {}
    if target == "launcher":
        pids = [job.process.pid]
    elif target == "mpirun":
        pids = [pid for pid in [job.named("mpirun")] if pid]
    else:
        pids = [pid for rank, pid in ranks.items() if target == f"rank {rank}"]
    if not pids:  # it does not exist yet, or any more
        job.kill_all()
        return
    job.send(signal.SIGKILL, pids)
    left = job.left_after()
    case.expect(not left, f"{what}: still running after {ORPHAN_SECONDS} s: {left}")
    if left:
        job.kill_all()
    elif target != "launcher":
        # A run that was at its very end, or another rank's save, may be done all the same.
        case.expect(job.code in (0, 6), f"{what}: elastron-run ended with {job.code}")
