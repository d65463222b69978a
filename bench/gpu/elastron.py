"""Elastron behind elastron_bench_gpu, for scripts that time it. Needs nothing but Python."""
import json
import os
import selectors
import signal
import subprocess
import time


class Failed(Exception):
    """The program ended, or did not answer in time."""


class Elastron:
    def __init__(self, program, device, seconds=60):
        """seconds: how long an answer may take. ELASTRON_BENCH_LIBRARIES: where the program's
        libraries lie, for it alone."""
        self.program, self.wanted, self.seconds = program, device, seconds
        self.process, self.buffer = None, b""
        self.start()

    def start(self):
        env = dict(os.environ)
        if "ELASTRON_BENCH_LIBRARIES" in env:
            env["LD_LIBRARY_PATH"] = env["ELASTRON_BENCH_LIBRARIES"]
        self.buffer = b""
        self.process = subprocess.Popen([self.program, "--device", self.wanted],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env,
                                        start_new_session=True)
        about = self.answer("start")
        self.device, self.full_attention = about["device"], about["full_attention"]

    def answer(self, line):
        end = time.monotonic() + self.seconds
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self.buffer:
                left = end - time.monotonic()
                if left <= 0 or not ready.select(left):
                    self.end()
                    raise Failed(f"no answer within {self.seconds:g} s ({line})")
                more = os.read(self.process.stdout.fileno(), 1 << 16)
                if not more:
                    code = self.process.wait()
                    raise Failed(f"elastron_bench_gpu ended with {code} ({line}): see its message above")
                self.buffer += more
        text, _, self.buffer = self.buffer.partition(b"\n")
        return json.loads(text)

    def ask(self, case, **settings):
        line = " ".join([case] + [f"{k}={v}" for k, v in settings.items()])
        if self.process.poll() is not None:
            self.start()  # after one that failed
        try:
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # what it said tells more
        return self.answer(line)

    def end(self):
        """No process of it is left to hold the GPU."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
