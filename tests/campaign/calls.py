"""System calls that fail, one at a time: every call of every function that changes files of a run's folder, until the
program makes fewer. A run ends as the contract says, leaves no half-written file, and goes on afterwards.

Case number n is call n // (pairs) + 1 of pair n % (pairs), a pair being an objective and a function.
"""
import errno
import os
import shutil

import training
from program import last_line, name_of

NAME = "calls"
WEIGHT = 3
OBJECTIVES = ("pretrain", "router", "reward")
FUNCTIONS = ("open", "open64", "mkdir", "fallocate", "ftruncate", "ftruncate64", "write", "writev", "pwrite", "pwrite64",
             "pwritev", "fsync", "close", "rename", "unlink",
             "remove", "fcntl")
PAIRS = [(objective, function) for function in FUNCTIONS for objective in OBJECTIVES]
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EDQUOT, errno.EROFS)
STEPS = 2
MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json")


def pair_of(number):
    return PAIRS[number % len(PAIRS)], number // len(PAIRS) + 1


def ends_of(results):
    """How many calls a pair makes, where that is known."""
    return {pair_of(number)[0]: pair_of(number)[1] - 1 for number, r in results.items() if "beyond the last" in r["counts"]}


def cases(results):
    ends = ends_of(results)
    if len(ends) < len(PAIRS):
        return None
    return max(ends.values()) * len(PAIRS)


def wanted(number, results):
    pair, call = pair_of(number)
    return call <= ends_of(results).get(pair, call)


def exported(folder):
    """Bytes of the model folder that pretraining writes at its end, by name."""
    found = {}
    for name in MODEL_FILES:
        try:
            with open(os.path.join(folder, "model", name), "rb") as file:
                found[name] = file.read()
        except FileNotFoundError:
            pass
    return found


def before(case, objective):
    """A folder with one step; the contents and the exported model after the second."""
    def make(folder):
        run = os.path.join(folder, "run")
        case.program.done(training.arguments(case.program, run, objective, 1))
        after = os.path.join(folder, "after")
        shutil.copytree(run, after)
        case.program.done(training.arguments(case.program, after, objective, STEPS))
        return run, case.program.contents(after), exported(after)
    return case.program.once(f"calls-{objective}", make)


def run(case):
    (objective, function), call = pair_of(case.number)
    start, expected, model = before(case, objective)
    error = case.random.choice(ERRORS)
    folder = case.path("run")
    shutil.copytree(start, folder)
    command = training.arguments(case.program, folder, objective, STEPS)
    report = case.path("report")
    outcome = case.program.run(command, environment={
        "LD_PRELOAD": case.program.library("failing_calls"), "FAIL_CALL": function, "FAIL_AT": str(call),
        "FAIL_PATH": folder, "FAIL_ERRNO": str(error), "FAIL_REPORT": report})
    what = f"{objective}: call {call} of {function} with {errno.errorcode[error]}"
    case.note = what
    if not os.path.exists(report):
        case.expect(outcome.code == 0, f"{what}: there is none, and {name_of(outcome.code)}: {last_line(outcome.err)}")
        case.count("beyond the last")
        return
    case.count("calls")
    fault = outcome.fault_of_contract((0, 2, 3, 4))
    case.expect(not fault, f"{what}: {fault}")
    expect_no_half_file(case, folder, what)
    models = [exported(start), model]
    half = [name for name, data in exported(folder).items() if data not in [m.get(name) for m in models]]
    case.expect(not half, f"{what}: neither the old nor the new model's: {half}")
    if outcome.code == 0:
        case.count("done without it")
        case.expect(case.program.contents(folder) == expected, f"{what}: done, with another final state")
    elif training.latest(folder):
        state = case.program.inspect(folder)
        case.expect(state.code == 0, f"{what}: then inspect: {name_of(state.code)}: {last_line(state.err)}")
    again = case.program.run(command)
    fault = again.fault_of_contract((0,))
    if case.expect(not fault, f"{what}: the next start: {fault}"):
        case.expect(case.program.contents(folder) == expected, f"{what}: the next start came to another final state")
        case.expect(exported(folder) == model, f"{what}: the next start exported another model")


def expect_no_half_file(case, folder, what):
    """No temporary file, and every checkpoint whole."""
    whole, temporary = training.checkpoints(folder)
    case.expect(not temporary, f"{what}: left {temporary}")
    case.expect(training.latest(folder) >= 1, f"{what}: `latest` names nothing")
    for name in whole:
        outcome = case.program.inspect(os.path.join(folder, "checkpoints", name))
        case.expect(outcome.code == 0, f"{what}: {name} is not whole: {last_line(outcome.err)}")
