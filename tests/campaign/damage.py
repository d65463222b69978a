"""Checkpoints with random damage: refused with exit code 4 and one line that names the file, or, where the damage is of
bytes that mean nothing, read as the same tensors."""
import os
import shutil

import training
from program import contents_of, last_line, name_of, settings

NAME = "damage"
WEIGHT = 4
FILES = 10  # of a case
KINDS = ("bits", "cut", "zeros", "swap", "append", "noise", "copy")
# The first bytes, where the library's own structures are, get half of the damage.
STRUCTURES = 8192


def cases(_results):
    return None


def run(case):
    whole = training.undisturbed(case.program)
    name = f"step-{training.STEPS:08d}.h5"
    with open(os.path.join(whole.folder, "checkpoints", name), "rb") as file:
        good = file.read()
    resumes = case.random.randrange(FILES)
    for number in range(FILES):
        kind = case.random.choice(KINDS)
        damaged, where = damage(case.random, good, kind)
        if damaged == good:
            case.count("without effect")
            continue
        path = case.path(name)
        with open(path, "wb") as file:
            file.write(damaged)
        what = f"{kind} at {where} (file {number + 1} of the case)"
        accepted = inspect(case, path, whole, what)
        case.count("files")
        case.count("harmless" if accepted else "refused")
        if accepted or number == resumes:
            resume(case, path, whole, accepted, what)
        if case.faults:
            return


def damage(random, good, kind):
    """-> the damaged bytes, and where they are so."""
    size = len(good)
    at = random.randrange(min(size, STRUCTURES) if random.random() < 0.5 else size)
    length = min(size - at, int(2 ** random.uniform(0, 14)))
    bad = bytearray(good)
    if kind == "bits":
        places = [at] + [random.randrange(size) for _ in range(random.choice([0, 0, 0, 1, 7]))]
        for place in places:
            bad[place] ^= 1 << random.randrange(8)
        return bytes(bad), f"bytes {places}"
    if kind == "cut":
        return good[:at], f"byte {at}"
    if kind == "append":
        return good + random.randbytes(length), f"{length} bytes behind the end"
    if kind == "zeros":
        bad[at:at + length] = bytes(length)
    elif kind == "noise":
        bad[at:at + length] = random.randbytes(length)
    else:  # two ranges change places, or one is written over another
        other = random.randrange(size - length + 1)
        first, second = good[at:at + length], good[other:other + length]
        bad[at:at + length] = second
        if kind == "swap":
            bad[other:other + length] = first
    return bytes(bad[:size]), f"bytes {at} to {at + length}"


def inspect(case, path, whole, what):
    """-> whether the file is taken."""
    outcome = case.program.run(["inspect", "--json", path])
    if outcome.code == 0:
        fault = outcome.fault_of_contract((0,))
        case.expect(not fault, f"{what}: {fault}")
        same = contents_of(outcome.out) == whole.contents
        case.expect(same, f"{what}: taken, and what is read is not what was written")
        return True
    expect_refusal(case, outcome, path, what)
    return False


def expect_refusal(case, outcome, path, what):
    fault = outcome.fault_of_contract((4,))
    case.expect(not fault, f"{what}: {fault}")
    case.expect(path in outcome.err, f"{what}: the line does not name the file: {last_line(outcome.err)}")


def resume(case, path, whole, accepted, what):
    """Training from the file does what inspect does: in a new folder, for it belongs to no run there."""
    case.count("resumes")
    target = case.path("run")
    shutil.rmtree(target, ignore_errors=True)
    command = training.arguments(case.program, target) + ["--resume", path]
    more = settings(**{"train.steps": training.STEPS + 1})
    outcome = case.program.run(command + more)
    if not accepted:
        expect_refusal(case, outcome, path, f"{what}, resumed")
        left, _ = training.checkpoints(target)
        case.expect(not left, f"{what}: a refused checkpoint was trained on: {left}")
        return
    if not case.expect(outcome.code == 0, f"{what}, resumed: {name_of(outcome.code)}: {last_line(outcome.err)}"):
        return

    def go_on(folder):
        run = os.path.join(folder, "run")
        good = os.path.join(whole.folder, "checkpoints", os.path.basename(path))
        case.program.done(training.arguments(case.program, run) + ["--resume", good] + more)
        return case.program.contents(run)

    same = case.program.contents(target) == case.program.once("one-step-more", go_on)
    case.expect(same, f"{what}: a step from it is not a step from the whole file")
