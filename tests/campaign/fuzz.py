"""The fuzz targets (tests/fuzz/run.sh) for this part's share of the minutes."""
import os
import re
import shutil
import subprocess

from cases import Skip

NAME = "fuzz"
WEIGHT = 2
TARGETS = 8
_seconds = 60.0


def cases(_results):
    return None


def seconds(left):
    """How long the next case may take; targets run one after another on one core."""
    global _seconds
    _seconds = left


def run(case):
    build = os.path.join(case.program.source, "build-fuzz")
    if shutil.which("clang++") is None:
        raise Skip("no clang")
    if not os.path.exists(os.path.join(build, "CMakeCache.txt")):
        raise Skip("no fuzz build: tests/fuzz/run.sh makes it")
    each = max(1, int(_seconds / TARGETS))
    command = [os.path.join(case.program.source, "tests/fuzz/run.sh"), str(each)]
    found = subprocess.run(command, env=os.environ | {"JOBS": "1"}, capture_output=True, text=True, check=False)
    for executions in re.findall(r"^\w+: #(\d+)\s+DONE", found.stdout, re.M):
        case.count("executions", int(executions))
        case.count("targets")
    case.note = f"{each} s a target"
    case.expect(found.returncode == 0, found.stderr.strip() or f"tests/fuzz/run.sh ended with {found.returncode}")
