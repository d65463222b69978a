"""What launch/gpu_check.sh runs: see there. From the folder of the sources:

  python3 bench/gpu/check BUNDLE FOLDER"""
import os
import shutil
import signal
import sys
import tempfile

import bounded
import machine
from parts import Check
from report import Report
from steps import Budget, Steps


def number(name, otherwise):
    return float(os.environ.get(name, otherwise))


def fail(code, what):
    print(f"error: {what}", file=sys.stderr)
    sys.exit(code)


class Stopped(Exception):
    pass


def stop(*_):
    raise Stopped


def main(bundle_file, folder):
    budget = Budget(number("GPU_CHECK_SECONDS", 530), number("GPU_CHECK_LIMIT", 600),
                    number("GPU_CHECK_GRACE", 5), number("GPU_CHECK_SLOW", 1))
    if not os.path.isfile(bundle_file):
        fail(3, f"the bundle is missing ({bundle_file}): make it with launch/gpu_bundle.sh")
    gpu = machine.gpu_name()
    if not gpu:
        fail(2, "nvidia-smi shows no GPU (driver): run this on a machine with one")
    bounded.adopt_orphans()
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, stop)
    work = tempfile.mkdtemp(prefix="gpu-check-")
    try:
        try:
            commit = machine.unpack(bundle_file, work)
        except Exception as e:  # whatever tarfile thinks of the file
            fail(3, f"the bundle cannot be unpacked ({bundle_file}): {e}; make it again")
        report = Report(folder, gpu, commit, work)
        report.save()
        check = Check(Steps(report, budget), machine.Bundle(work), bool(os.environ.get("GPU_CHECK_SMALL")))
        try:
            for i, (part, seconds) in enumerate(check.parts()):
                check.steps.part(i + 1, seconds)
                part()
            report.content["finished"] = True
        except Stopped:
            print("stopped: what was found is kept", flush=True)
        finally:
            for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(name, signal.SIG_IGN)  # what follows ends by itself
            bounded.end_all(budget.grace)
            report.save()
            report.pack()
        failed = report.failed()
        print(f"{report.path}.json: {len(failed)} failed" + "".join(f"; {name}" for name in failed))
        sys.exit(1 if failed or not report.content["finished"] else 0)
    finally:
        shutil.rmtree(work, ignore_errors=True)


main(*sys.argv[1:3])
