"""Commands that end in time, whatever they do, and leave no process behind."""
import ctypes
import os
import signal
import subprocess
import time

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
libc = ctypes.CDLL(None)


def adopt_orphans():
    """From now on a process whose parent has ended becomes this one's child, where it is found."""
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def descendants():
    """Processes below this one that still run, in whichever session or group."""
    children = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat") as file:
                state, parent = file.read().rpartition(")")[2].split()[:2]
        except OSError:
            continue  # it has ended
        if state != "Z":
            children.setdefault(int(parent), []).append(int(entry))
        else:
            children.setdefault(int(parent), [])
    found, todo = [], [os.getpid()]
    while todo:
        more = children.get(todo.pop(), [])
        found += more
        todo += more
    return found


def reap():
    """Takes the exit codes of orphans that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0] > 0:
            pass
    except ChildProcessError:
        pass


def signal_all(number):
    for pid in descendants():
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def end_all(grace):
    """TERM to all descendants, KILL to those that are left after `grace` seconds. -> how many did
    not go by themselves, how many could not be ended."""
    first = len(descendants())
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 5)):
        signal_all(signal.SIGCONT)  # a stopped one does not listen
        signal_all(number)
        end = time.monotonic() + seconds
        while descendants() and time.monotonic() < end:
            reap()
            time.sleep(0.05)
        if not descendants():
            break
    reap()
    return first, len(descendants())


class Ended:
    def __init__(self, code, seconds, late):
        self.code, self.seconds, self.late = code, seconds, late

    def why(self):
        """'' where it ended well"""
        if self.late:
            return f"ran past {self.late:.3g} s"
        if self.code < 0:
            return f"killed by {signal.Signals(-self.code).name}"
        return "" if self.code == 0 else f"exit code {self.code}"


def run(command, log, limit, grace, env=None):
    """Runs it, both outputs to the file `log`, for `limit` seconds at most and `grace` more in which
    it may end. Nothing that it started is left."""
    begin = time.monotonic()
    late = 0
    with open(log, "ab") as out:
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out,
                                       stderr=subprocess.STDOUT, env=env, start_new_session=True,
                                       preexec_fn=die_with_parent)
        except OSError as e:
            out.write(f"{command[0]}: {e}\n".encode())
            return Ended(127, 0, 0)
        try:
            code = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            late, code = limit, 0
        left, stuck = end_all(grace if late else min(grace, 1))
        if late:
            process.poll()
        elif left:
            out.write(f"gpu_check: {left} processes were left and ended\n".encode())
        if stuck:
            out.write(f"gpu_check: {stuck} processes could not be ended\n".encode())
    return Ended(code, time.monotonic() - begin, late)
