"""Starts the program as a user would, alone or by launch/elastron-run, and looks at what it leaves behind."""
import dataclasses
import json
import os
import re
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import time

# What everything that is started gets: wide, since a machine may be busy. A hang takes no processor time, so
# that a limit on it finds what computes for ever, and this one what waits.
LIMIT_SECONDS = 600
# Within which no process may be left after what it belongs to was killed.
ORPHAN_SECONDS = 60
MARK = "ELASTRON_CAMPAIGN_JOB"
CODES = (0, 2, 3, 4, 5, 6, 75)


@dataclasses.dataclass
class Outcome:
    code: int  # negative: the signal that ended it
    out: str
    err: str
    seconds: float = 0.0
    peak_mib: float = 0.0

    def error_lines(self):
        return [line for line in self.err.splitlines() if "error: " in line]

    def fault_of_contract(self, codes=CODES, most_lines=1):
        """What is wrong with how it ended, or "". Of a configuration each fault is a line, up to some number."""
        if self.code < 0 or self.code not in codes:
            return f"ended with {name_of(self.code)}: {last_line(self.err)}"
        errors = self.error_lines()
        if self.code in (0, 75):
            return f"exit code {self.code} with an error: {errors[0]}" if errors else ""
        if not 1 <= len(errors) <= most_lines:
            return f"exit code {self.code} with {len(errors)} lines of error: {' / '.join(errors[:3])}"
        if "internal error" in errors[0]:
            return errors[0]
        return ""


def name_of(code):
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def last_line(text):
    lines = text.strip().splitlines()
    return lines[-1][:300] if lines else "no line"


def read_text(path, otherwise=""):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return otherwise


def environment_of(pid):
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:  # it has ended, or is another user's
        return []


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Job:
    """A command in the background, with every process that comes of it, by a mark in their environment."""
    number = 0

    def __init__(self, command, environment, log, out=None, cpu_seconds=None):
        Job.number += 1
        self.mark = f"{MARK}={os.getpid()}-{Job.number}".encode()
        self.log_path, self.out_path = log, out or log + ".out"
        self.begin = time.monotonic()

        def limit():
            # nohup, and shells that start something in the background, have them ignored.
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
                signal.signal(number, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            if cpu_seconds:
                resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 5))

        with open(log, "wb") as err, open(self.out_path, "wb") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=err, start_new_session=True, preexec_fn=limit,
                env=environment | dict([self.mark.decode().split("=", 1)]))
        self.code, self.peak_mib = None, 0.0

    def processes(self):
        """Of the job, by their numbers, that still run."""
        numbers = []
        for name in os.listdir("/proc"):
            if name.isdigit() and self.mark in environment_of(name) and is_running(name):
                numbers.append(int(name))
        return numbers

    def ranks(self, program):
        """Processes of the program, by rank; those that it has started itself (to probe files) are none."""
        found, parents = {}, {}
        for pid in self.processes():
            try:
                if os.path.realpath(os.readlink(f"/proc/{pid}/exe")) != os.path.realpath(program):
                    continue
                parents[pid] = int(read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            rank = [e.split(b"=")[1] for e in environment_of(pid) if e.startswith(b"OMPI_COMM_WORLD_RANK=")]
            found[pid] = int(rank[0]) if rank else 0
        return {rank: pid for pid, rank in found.items() if parents[pid] not in found}

    def named(self, name):
        """The first process of the job with this name, or None."""
        for pid in sorted(self.processes()):
            if read_text(f"/proc/{pid}/comm").strip() == name:
                return pid
        return None

    def log(self):
        return read_text(self.log_path)

    def ended(self):
        if self.code is None:
            pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
            if pid:
                self.code = self.process.returncode = os.waitstatus_to_exitcode(status)
                self.peak_mib = usage.ru_maxrss / 1024
        return self.code is not None

    def wait_until(self, condition, seconds=LIMIT_SECONDS, pause=0.002):
        """Until the condition holds (-> True), or the job has ended or the time is over (-> False)."""
        end = time.monotonic() + seconds
        while not condition():
            if self.ended() or time.monotonic() > end:
                return bool(condition())
            time.sleep(pause)
        return True

    def wait(self, seconds=LIMIT_SECONDS):
        """-> the outcome; what hangs is killed, and its code is -SIGALRM."""
        end = time.monotonic() + seconds
        while not self.ended() and time.monotonic() < end:
            time.sleep(0.005)
        hangs = not self.ended()
        if hangs:
            self.kill_all()
        return Outcome(-signal.SIGALRM if hangs else self.code, read_text(self.out_path), self.log(),
                       time.monotonic() - self.begin, self.peak_mib)

    def send(self, number, pids):
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def kill_all(self):
        """Every process at once, and those that were being made meanwhile; -> how many there were."""
        killed = 0
        while pids := self.processes():
            killed += len(pids)
            self.send(signal.SIGKILL, pids)
            time.sleep(0.005)
        while not self.ended():
            time.sleep(0.002)
        return killed

    def left_after(self, seconds=None):
        """Waits until no process of the job runs. -> the command lines of those that still do after so long."""
        end = time.monotonic() + (ORPHAN_SECONDS if seconds is None else seconds)
        while time.monotonic() < end:
            self.ended()
            if not self.processes():
                return []
            time.sleep(0.05)
        return [read_text(f"/proc/{pid}/cmdline").replace("\0", " ")[:200] for pid in self.processes()]


class Program:
    """The program that is tried, its launcher, and the libraries that are preloaded into it."""

    def __init__(self, source, program=None, libraries=None, work=None):
        self.source = os.path.realpath(source)
        self.build = os.path.join(self.source, "build")
        self.path = os.path.realpath(program or os.path.join(self.build, "elastron"))
        self.libraries = libraries or os.path.dirname(self.path)
        self.work = work or tempfile.mkdtemp(prefix="campaign-")
        self.jobs, self._made = [], {}
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("ELASTRON_", "FAIL_", "LD_PRELOAD"))}
        self.environment |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "ELASTRON_BIN": self.path,
                             "ELASTRON_RESTART_SECONDS": "0", "XDG_CACHE_HOME": os.path.join(self.work, "cache"),
                             "OMPI_MCA_mpi_yield_when_idle": "1",
                             "ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0"}

    def version(self):
        """The commit that it was built from, as it says itself."""
        text = subprocess.run([self.path, "--version"], capture_output=True, text=True, timeout=LIMIT_SECONDS).stdout
        found = re.search(r"\(([0-9a-f]+[^)]*)\)", text)
        return found.group(1) if found else text.strip()[:40] or "unknown"

    def library(self, name):
        """One of tests/launch or tests/campaign, under a path without blanks, which LD_PRELOAD takes for ends."""
        for folder in ("tests/launch", "tests/campaign"):
            file = os.path.join(self.libraries, folder, f"lib{name}.so")
            if os.path.exists(file):
                link = os.path.join(self.work, f"lib{name}.so")
                if not os.path.lexists(link):
                    os.symlink(file, link)
                return link
        raise FileNotFoundError(f"lib{name}.so is not built ({self.libraries}): ninja -C build {name}")

    def start(self, arguments, log, ranks=0, environment=None, prefix=(), launcher=(), cpu_seconds=None):
        """ranks 0: the program alone; else by elastron-run. `launcher`: its further arguments."""
        command = list(prefix)
        if ranks:
            command += [os.path.join(self.source, "launch/elastron-run"), "-np", str(ranks), *launcher]
        else:
            command.append(self.path)
        job = Job([str(c) for c in command + list(arguments)], self.environment | (environment or {}), log,
                  cpu_seconds=cpu_seconds)
        self.jobs.append(job)
        return job

    def run(self, arguments, ranks=0, environment=None, prefix=(), launcher=(), seconds=LIMIT_SECONDS, cpu_seconds=None):
        with tempfile.TemporaryDirectory(dir=self.work) as scratch:
            job = self.start(arguments, os.path.join(scratch, "err"), ranks, environment, prefix, launcher, cpu_seconds)
            outcome = job.wait(seconds)
            if not job.left_after():
                self.jobs.remove(job)
            return outcome

    def end_all(self):
        """Ends what the jobs of a case have left. -> how many processes that were."""
        left = sum(job.kill_all() for job in self.jobs)
        self.jobs.clear()
        return left

    def once(self, name, make):
        """What `make(folder)` makes, in a folder of its own, the first time it is asked for."""
        if name not in self._made:
            folder = os.path.join(self.work, "made", name)
            os.makedirs(folder)
            self._made[name] = make(folder)
        return self._made[name]

    def done(self, arguments, **more):
        """Runs what must succeed. -> its outcome."""
        outcome = self.run(arguments, **more)
        if outcome.code != 0:
            raise RuntimeError(f"{' '.join(map(str, arguments))}: {name_of(outcome.code)}: {last_line(outcome.err)}")
        return outcome

    # --- checkpoints -------------------------------------------------------------------------------------------

    def inspect(self, checkpoint):
        return self.run(["inspect", "--json", checkpoint])

    def contents(self, checkpoint):
        """What a run of the same settings elsewhere would have too, tensors by their checksums."""
        return contents_of(self.done(["inspect", "--json", checkpoint]).out)

    # --- models ------------------------------------------------------------------------------------------------

    def shapes(self):
        """A model folder without weights, of a few thousand parameters."""
        def make(folder):
            shutil.copy(os.path.join(self.source, "tests/fixtures/tiny_model/config.json"), folder)
            self.done(["synthesize", "--tokenizer", os.path.join(folder, "tokenizer.json")])
            return folder
        return self.once("shapes", make)

    def backbone(self):
        """The same with random weights, trained for three steps."""
        def make(folder):
            self.done(["train", self.config("pretrain"), *settings(**{
                "model.path": self.shapes(), "output.dir": folder, "train.steps": 3})])
            return os.path.join(folder, "model")
        return self.once("backbone", make)

    def config(self, objective):
        return os.path.join(self.source, f"tests/launch/{objective}.yaml")


def contents_of(text):
    whole = json.loads(text)
    for key in ("path", "run", "config"):
        whole.pop(key, None)
    return whole


def settings(**keys):
    """--set arguments."""
    arguments = []
    for key, value in keys.items():
        arguments += ["--set", f"{key}={value}"]
    return arguments
