"""The machine's whims: a disk that is full, two runs in one folder, clocks that jump, locales with a decimal comma."""
import os
import shutil
import subprocess
import time

import training
from cases import Skip
from program import Outcome, last_line, name_of, read_text

NAME = "conditions"
WEIGHT = 1
SKIPS_ONE = True  # what one case lacks another may not need
KINDS = ("full disk", "two runs", "clock", "locale")
STEPS = 6
LOCALES = ("tr_TR", "de_DE")


def cases(_results):
    return None


def run(case):
    kind = KINDS[case.number % len(KINDS)]
    case.note = kind
    {"full disk": full_disk, "two runs": two_runs, "clock": clock, "locale": locale}[kind](case)


def full_disk(case):
    """A file system of its own, in a name space of its own, that is too small; then it grows, and the run goes on."""
    probe = subprocess.run(["unshare", "-m", "sh", "-c", f"mount -t tmpfs none {case.folder}"], capture_output=True,
                           check=False)
    if probe.returncode != 0:
        raise Skip("full disk: no mount name space with a tmpfs here (unshare -m)")
    ranks = case.random.choice([0, 0, 2])
    whole = training.undisturbed(case.program, ranks, steps=STEPS)
    disk = case.path("disk")
    os.makedirs(disk)
    size = int(os.path.getsize(os.path.join(whole.folder, "checkpoints", f"step-{STEPS:08d}.h5"))
               * case.random.uniform(0.05, 3.5))
    # Within the name space: the run, what is left, and the next start with room.
    script = case.path("script")
    with open(script, "w", encoding="utf-8") as file:
        file.write(f"""mount -t tmpfs -o size={size} none {disk} || exit 99
"$@" 2>{case.path('err')} >{case.path('out')}
echo $? >{case.path('code')}
mkdir {disk}/../left && cp -a {disk}/run {disk}/../left/
mount -o remount,size=100M {disk}
"$@" 2>{case.path('err2')} >{case.path('out2')}
echo $? >{case.path('code2')}
cp -a {disk}/run {case.path('run')}
""")
    prefix = ["unshare", "-m", "sh", script]
    command = training.arguments(case.program, os.path.join(disk, "run"), steps=STEPS)
    case.program.run(command, ranks, prefix=prefix)
    case.count("runs")
    what = f"full disk of {size} bytes, {ranks or 1} ranks"
    first, second = outcome_in(case, ""), outcome_in(case, "2")
    fault = first.fault_of_contract((0, 2, 3, 4))
    case.expect(not fault, f"{what}: {fault}")
    case.count(f"full, {name_of(first.code)}")
    left = training.Folder(case, case.path("left/run"))
    left.check(first.err, what)
    _, temporary = training.checkpoints(left.path)
    case.expect(not temporary, f"{what}: temporary files are left: {temporary}")
    after = training.Folder(case, case.path("run"))
    after.least = left.least
    after.check(second.err, f"{what}, with room")
    after.expect_whole(second, whole, f"{what}, with room")


def outcome_in(case, which):
    return Outcome(int(read_text(case.path("code" + which), "-6")), read_text(case.path("out" + which)),
                   read_text(case.path("err" + which)))


def two_runs(case):
    """Of two runs in one folder one is refused, at whatever moment it comes, and the other one knows nothing of it."""
    whole = training.undisturbed(case.program, 0, steps=STEPS)
    folder = training.Folder(case, case.path("run"))
    command = training.arguments(case.program, folder.path, steps=STEPS)
    first = case.program.start(command, case.path("log.1"))
    time.sleep(case.random.random() * (whole.start + STEPS * whole.step))
    second = case.program.start(command + case.random.choice([[], ["--resume", "none"]]), case.path("log.2"))
    outcomes = [first.wait(), second.wait()]
    case.count("runs", 2)
    refused = [o for o in outcomes if o.code == 2]
    if not refused:
        # The second came behind the first.
        case.count("one behind the other")
        for outcome in outcomes:
            fault = outcome.fault_of_contract((0,))
            case.expect(not fault, f"one behind the other: {fault}")
    else:
        case.count("refused")
        case.expect(len(refused) == 1, "both runs were refused")
        fault = refused[0].fault_of_contract((2,))
        case.expect(not fault and "in use by process" in refused[0].err, f"refused: {fault or last_line(refused[0].err)}")
        folder.expect_whole(next((o for o in outcomes if o.code != 2), outcomes[0]), whole, "the other run")
    state = case.program.contents(folder.path)
    case.expect(state == whole.contents, "two runs: the final state is not that of a run alone")


def clock(case):
    """The time of day jumps, back or forth, again and again."""
    ranks = case.random.choice([0, 2])
    whole = training.undisturbed(case.program, ranks, steps=STEPS)
    folder = training.Folder(case, case.path("run"))
    seconds = int(case.random.choice([-1, 1]) * 10 ** case.random.uniform(0, 9))
    after = case.random.randint(1, 200)
    command = training.arguments(case.program, folder.path, steps=STEPS)
    outcome = case.program.run(command, ranks, environment={
        "LD_PRELOAD": case.program.library("jumping_clock"), "JUMP_SECONDS": str(seconds), "JUMP_AFTER": str(after)})
    case.count("runs")
    what = f"the clock jumps by {seconds} s after {after} calls, {ranks or 1} ranks"
    folder.check(outcome.err, what)
    folder.expect_whole(outcome, whole, what)


def locale(case):
    """Numbers have a point in every file and line, and words mean the same, whatever the user's language is."""
    if shutil.which("localedef") is None:
        raise Skip("locale: no localedef")
    name = case.random.choice(LOCALES)

    def make(folder):
        for source in LOCALES:
            subprocess.run(["localedef", "-i", source, "-f", "UTF-8", os.path.join(folder, source + ".UTF-8")],
                           capture_output=True, check=False)
        return folder

    path = case.program.once("locales", make)
    if not os.path.isdir(os.path.join(path, name + ".UTF-8")):
        raise Skip(f"locale: no sources of {name} (Debian: locales)")
    whole = training.undisturbed(case.program, 0, steps=STEPS)
    folder = training.Folder(case, case.path("run"))
    environment = {"LOCPATH": path, "LC_ALL": name + ".UTF-8", "LANG": name + ".UTF-8"}
    command = training.arguments(case.program, folder.path, steps=STEPS, train__lr__router="5.0e-3")
    outcome = case.program.run(command, environment=environment)
    case.count("runs")
    folder.check(outcome.err, name)
    folder.expect_whole(outcome, whole, name)
    shown = case.program.run(["inspect", "--config", folder.path], environment=environment)
    plain = case.program.run(["inspect", "--config", folder.path])
    case.expect(shown.out == plain.out, f"{name}: inspect prints something else")
