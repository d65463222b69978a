"""Stop signals in every phase of a run, once and a second time: the exit code, and what is on disk.

Cases are numbered over signals, phases, whether a second one follows, and who gets them; from then on the same again at
other moments of the phases.
"""
import itertools
import os
import signal
import time

import training
from program import last_line, name_of

NAME = "signals"
WEIGHT = 2
SIGNALS = ("TERM", "INT", "HUP", "USR1")
PHASES = ("start", "data", "step", "save", "evaluation", "end")
WHOM = ("the program alone", "elastron-run", "all of 2 ranks", "one of 2 ranks")
CASES = list(itertools.product((False, True), WHOM, PHASES, SIGNALS))
# What a second request is, and not the first one again: docs/launching.md.
APART = 2.3
STEPS = 8


def cases(_results):
    return None


def keys(case):
    """Of all these runs: evaluations, and data that is read from a file, take a while."""
    def make(folder):
        path = os.path.join(folder, "records.jsonl")
        record = '{"context": "n%d n2 n3 n4", "question": "find", "answer": "v1", "metadata": {"task": "Code"}}\n'
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(record % (i % 7) for i in range(3000))
        return path
    records = case.program.once("records", make)
    return {"data__format": "jsonl", "data__train": f"[{records}]", "data__packing": "sorted", "eval__every": 2,
            "data__eval": f"[{records}]", "data__min_tokens": 1}


def run(case):
    second, whom, phase, name = CASES[case.number % len(CASES)]
    number = getattr(signal, "SIG" + name)
    ranks = {"the program alone": 0, "elastron-run": 1}.get(whom, 2)
    case.note = what = f"{name} to {whom} in {phase}" + (", twice" if second else "")
    whole = training.undisturbed(case.program, ranks, steps=STEPS, **keys(case))
    folder = training.Folder(case, case.path("run"))
    command = training.arguments(case.program, folder.path, steps=STEPS, **keys(case))
    environment = {}
    if phase == "save" or second:
        # So slow that a second signal comes while the state is saved.
        size = os.path.getsize(os.path.join(whole.folder, "checkpoints", f"step-{STEPS:08d}.h5"))
        environment = {"LD_PRELOAD": case.program.library("slow_storage"), "SLOW_PATH": "/checkpoints/",
                       "SLOW_BYTES": str(size / (5 if second else 1))}
    job = case.program.start(command, case.path("log"), ranks, environment)
    wait_for(case, job, phase, whole, folder)
    sent_at = training.reached(job.log())
    if job.ended():
        case.count("came too late")
    else:
        send(case, job, whom, number)
        case.count("signals")
    again = False
    if second and not job.ended():
        time.sleep(APART)
        if not job.ended():
            again = True
            send(case, job, whom, number)
            case.count("second signals")
    outcome = job.wait()
    left = job.left_after()
    case.expect(not left, f"{what}: still running: {left}")
    if whom == "the program alone" and sent_at <= STEPS - 4:  # the step at hand, and one that has begun meanwhile
        case.expect(outcome.code != 0, f"{what}: it was sent at step {sent_at}, and not heard")
    judge(case, outcome, folder, again, what)
    if not case.faults:
        last = case.program.run(command, ranks)
        folder.expect_whole(last, whole, f"{what}: the start after it")


def wait_for(case, job, phase, whole, folder):
    step = case.random.randint(1, STEPS - 1)
    delay = case.random.random() * whole.step
    if phase == "start":
        delay = case.random.random() * whole.start
    elif phase == "data":
        job.wait_until(lambda: " elastron " in job.log())
        delay = case.random.random() * whole.start / 4
    elif phase == "step":
        job.wait_until(lambda: training.reached(job.log()) >= step)
    elif phase == "save":
        job.wait_until(lambda: training.reached(job.log()) >= step)
        job.wait_until(lambda: training.checkpoints(folder.path)[1], seconds=5)
    elif phase == "evaluation":
        job.wait_until(lambda: training.reached(job.log()) >= 2)
    else:
        job.wait_until(lambda: training.reached(job.log()) >= STEPS)
        delay = case.random.random() * whole.end
    end = time.monotonic() + delay
    while time.monotonic() < end and not job.ended():
        time.sleep(0.002)


def send(case, job, whom, number):
    if whom == "all of 2 ranks":
        job.send(number, job.processes())
    elif whom == "one of 2 ranks":
        ranks = job.ranks(case.program.path)
        job.send(number, [ranks[case.random.choice(sorted(ranks))]] if ranks else [job.process.pid])
    else:
        job.send(number, [job.process.pid])


def judge(case, outcome, folder, again, what):
    steps = training.reached(outcome.err)
    folder.check(outcome.err, what)
    if outcome.code in (-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, -signal.SIGUSR1):
        # Before the program, or the shell of elastron-run, has begun.
        case.expect(not outcome.err.strip(), f"{what}: killed by it, and had begun: {last_line(outcome.err)}")
        case.count("before the program had begun")
        return
    if again and outcome.code == 6:
        case.count("ended at once")
        case.expect(len(outcome.error_lines()) <= 1, f"{what}: lines of error: {outcome.error_lines()}")
        return
    fault = outcome.fault_of_contract((75,) if steps < STEPS else (0, 75))
    if not case.expect(not fault, f"{what}: {fault}"):
        return
    case.count("ended with " + name_of(outcome.code))
    # It finishes the step at hand and saves it.
    newest = training.latest(folder.path)
    case.expect(newest >= steps, f"{what}: step {steps} was done, and {newest or 'nothing'} is saved")
    _, temporary = training.checkpoints(folder.path)
    case.expect(not temporary, f"{what}: temporary files are left: {temporary}")
