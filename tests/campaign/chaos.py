"""A run that is killed at random moments and goes on on another layout each time: it always goes on from the newest
checkpoint, and its curve is the undisturbed one's within what docs/parallelism.md states for tens of steps."""
import training

NAME = "chaos"
WEIGHT = 2
STEPS = 40
TOLERANCE = 1e-5
# Keys of a layout, with its ranks.
LAYOUTS = ((0, {}), (1, {}), (2, {}), (2, {"parallel__tensor": 2}), (2, {"parallel__context": 2}))
MOST_STARTS = 40


def cases(_results):
    return None


def run(case):
    whole = training.undisturbed(case.program, 0, steps=STEPS)
    folder = training.Folder(case, case.path("run"))
    outcome = None
    for start in range(MOST_STARTS):
        ranks, layout = case.random.choice(LAYOUTS)
        what = f"start {start + 1} on {ranks} ranks {layout or ''}"
        job = case.program.start(training.arguments(case.program, folder.path, steps=STEPS, **layout),
                                 case.path(f"log.{start}"), ranks)
        before = folder.least
        goal = before + case.random.randint(1, 12)
        job.wait_until(lambda: training.reached(job.log()) >= goal)
        job.wait_until(lambda: False, seconds=case.random.random() * whole.step)
        if job.ended():
            outcome = job.wait()
            break
        job.kill_all()
        case.count("kills")
        folder.check(job.log(), what)
        folder.expect_resumed(job.log(), before, what)
        if case.faults:
            return
    if case.expect(outcome is not None, f"not done after {MOST_STARTS} starts"):
        folder.expect_resumed(outcome.err, before, what)
        folder.check(outcome.err, what)
        folder.expect_whole(outcome, whole, what, tolerance=TOLERANCE)
        case.count("steps", STEPS)
