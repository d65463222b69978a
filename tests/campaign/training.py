"""Small training runs that save every step: their command, an undisturbed one to compare with, and what must hold of
their folder whatever happens."""
import dataclasses
import json
import os
import re
import time

from program import contents_of, last_line, name_of, read_text, settings

STEPS = 24
# Figures of metrics.jsonl that do not depend on time.
FIGURES = ("loss", "lm_loss", "pair_loss", "sparsity_loss", "msr", "grad_norm", "tau", "accuracy", "margin_mean",
           "reward_std")


def arguments(program, folder, objective="router", steps=STEPS, **more):
    keys = {"output.dir": folder, "train.steps": steps, "train.schedule": "constant", "train.warmup_ratio": 0,
            "checkpoint.every": 1, "train.global_batch": 2, "train.micro_batch": 1,
            "model.path": program.shapes() if objective == "pretrain" else program.backbone()}
    if objective == "reward":
        keys |= {"reward.traces.eval_pairs": 2}
    return ["train", program.config(objective), *settings(**(keys | {k.replace("__", "."): v for k, v in more.items()}))]


def metrics(folder):
    """The steps of metrics.jsonl, by step; a step that stands there twice is an error, and so is a line cut short."""
    steps = {}
    for line in read_text(os.path.join(folder, "metrics.jsonl")).splitlines():
        line = json.loads(line)
        if "event" in line:
            continue
        if line["step"] in steps:
            raise ValueError(f"step {line['step']} stands twice in metrics.jsonl")
        steps[line["step"]] = {key: line[key] for key in FIGURES if key in line}
    return steps


@dataclasses.dataclass
class Undisturbed:
    folder: str
    contents: dict
    metrics: dict
    start: float  # seconds to the first step
    step: float  # seconds from one step to the next, with its save
    end: float  # seconds from the last step on


def undisturbed(program, ranks=0, objective="router", steps=STEPS, **more):
    """Such a run, made once, with the seconds that its parts take."""
    name = f"whole-{objective}-{ranks}-{steps}" + "".join(f"-{k}-{v}" for k, v in more.items()).replace("/", "_")

    def make(folder):
        run = os.path.join(folder, "run")
        job = program.start(arguments(program, run, objective, steps, **more), os.path.join(folder, "log"), ranks)
        times = {}
        for step in (1, steps):
            if not job.wait_until(lambda s=step: reached(job.log()) >= s):
                break
            times[step] = job_seconds(job)
        outcome = job.wait()
        if outcome.code != 0:
            raise RuntimeError(f"the undisturbed run: {name_of(outcome.code)}: {last_line(outcome.err)}")
        first, last = times.get(1, outcome.seconds), times.get(steps, outcome.seconds)
        return Undisturbed(run, program.contents(run), metrics(run), first, (last - first) / max(1, steps - 1),
                           outcome.seconds - last)

    return program.once(name, make)


def job_seconds(job):
    return time.monotonic() - job.begin


def reached(log):
    """The last step of which a log tells."""
    steps = re.findall(r" step (\d+)/\d+ \|", log)
    return int(steps[-1]) if steps else 0


def announced(log):
    """The newest checkpoint that a log says to be saved, by its step; 0: none."""
    steps = re.findall(r" saved \S*/step-(\d+)\.h5\n", log)
    return int(steps[-1]) if steps else 0


def latest(folder):
    """The step that `latest` names; 0: there is none."""
    found = re.fullmatch(r"step-(\d+)\.h5\n", read_text(os.path.join(folder, "checkpoints/latest")))
    return int(found.group(1)) if found else 0


def checkpoints(folder):
    """Names of whole checkpoints and of temporary files."""
    try:
        names = sorted(os.listdir(os.path.join(folder, "checkpoints")))
    except FileNotFoundError:
        names = []
    return [n for n in names if re.fullmatch(r"step-\d+\.h5", n)], [n for n in names if n.startswith(".")]


class Folder:
    """A run's folder over several starts: what must hold of it after each."""

    def __init__(self, case, path):
        self.case, self.path = case, path
        self.least = 0  # the step that must not be lost any more
        self._verified = set()

    def check(self, log, what):
        """After an end of any kind: the newest announced checkpoint is there, all verify, none went backward."""
        least = max(self.least, announced(log))
        newest = latest(self.path)
        self.case.expect(newest >= least, f"{what}: step {least} was saved, `latest` says {newest or 'nothing'}")
        whole, _ = checkpoints(self.path)
        if newest:
            self.case.expect(f"step-{newest:08d}.h5" in whole, f"{what}: the checkpoint that `latest` names is not there")
        for name in whole:
            self.verify(name, what)
        self.least = max(least, newest)

    def expect_resumed(self, log, before, what):
        """A start went on from the newest checkpoint, if it came so far as to say so."""
        resumed = resumed_step(log)
        if resumed or reached(log):
            self.case.expect(resumed == before, f"{what}: went on from step {resumed}, not from {before}")

    def verify(self, name, what):
        file = os.path.join(self.path, "checkpoints", name)
        stat = os.stat(file)
        key = (name, stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if key in self._verified:
            return
        outcome = self.case.program.inspect(file)
        good = outcome.code == 0 and contents_of(outcome.out)["step"] == int(name[5:13])
        if self.case.expect(good, f"{what}: {name} does not verify: {name_of(outcome.code)}: {last_line(outcome.err)}"):
            self._verified.add(key)
            self.case.count("verified")

    def expect_whole(self, outcome, whole, what, tolerance=None):
        """After the last start: it ended well, with the final state and the curve of the undisturbed run."""
        case = self.case
        if not case.expect(outcome.code == 0, f"{what}: {name_of(outcome.code)}: {last_line(outcome.err)}"):
            return
        fault = outcome.fault_of_contract((0,))
        case.expect(not fault, f"{what}: {fault}")
        _, temporary = checkpoints(self.path)
        case.expect(not temporary, f"{what}: temporary files are left: {temporary}")
        found = metrics(self.path)
        if case.expect(found.keys() == whole.metrics.keys(), f"{what}: metrics.jsonl has steps {sorted(found)}"):
            fault = curve_fault(whole.metrics, found, tolerance or 0.0)
            case.expect(not fault, f"{what}: {fault}")
        if tolerance is None:
            same = case.program.contents(self.path) == whole.contents
            case.expect(same, f"{what}: the final state is not that of the undisturbed run")


def curve_fault(a, b, tolerance):
    """Where two curves part by more than a relative tolerance, or ""; figures below 1e-3 count as 1e-3, and a margin,
    which is a difference of rewards, as 1: as tests/launch/program.cpp has it."""
    for step, figures in a.items():
        if figures.keys() != b[step].keys():
            return f"step {step} has other figures"
        for key, x in figures.items():
            least = 1.0 if key == "margin_mean" else 1e-3
            if abs(x - b[step][key]) > tolerance * max(abs(x), least):
                return f"step {step}: {key} {x} became {b[step][key]}"
    return ""


def resumed_step(log):
    found = re.search(r"resumed from \S*step-(\d+)\.h5", log)
    return int(found.group(1)) if found else 0
