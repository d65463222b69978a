#!/usr/bin/env python3
"""launch/gpu_check.sh with stand-ins for all that a bundle holds, which do as they should, hang, take no
TERM, crash or leave processes behind:

  gpu_check_test.py SOURCES"""
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest

SOURCES = os.path.abspath(sys.argv.pop(1))
COMMIT = "0123456789ab"

# What every stand-in begins with. PIDS: a folder in which each process leaves its number. FAULT: program,
# a part of its arguments, and what it does then.
BEGIN = r'''#!/usr/bin/env python3
import json, os, signal, subprocess, sys, time
NAME, ARGUMENTS = os.path.basename(sys.argv[0]), " ".join(sys.argv[1:])
def note(pid):
    open(os.path.join(os.environ["PIDS"], str(pid)), "w").close()
note(os.getpid())
def fault():
    name, part, kind = (os.environ.get("FAULT") or "::").split(":")
    if name != NAME or part not in ARGUMENTS:
        return
    sleeper = ["sleep", "600"]
    if kind == "hang":
        time.sleep(600)
    if kind == "deaf":  # so are its child, and one in a session of its own
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        note(subprocess.Popen(sleeper).pid)
        note(subprocess.Popen(sleeper, start_new_session=True).pid)
        time.sleep(600)
    if kind == "orphan":
        note(subprocess.Popen(sleeper, start_new_session=True).pid)
    if kind == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "fail":
        print("error: it cannot be (here): do something else", file=sys.stderr)
        sys.exit(5)
    if kind == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
'''
ELASTRON = BEGIN + r'''
settings = dict(a.split("=", 1) for a in sys.argv if "=" in a)
fault()
if sys.argv[1:] == ["--version"]:
    print("elastron of a test")
else:
    folder = settings["output.dir"]
    os.makedirs(folder + "/checkpoints", exist_ok=True)
    steps = int(settings["train.steps"])
    for step in (steps // 2, steps):
        open(f"{folder}/checkpoints/step-{step:08}.h5", "w").close()
    off = 1.5 if os.environ.get("WRONG") and "device=cuda" in ARGUMENTS else 1
    with open(folder + "/metrics.jsonl", "w") as out:
        for step in range(1, int(settings["train.steps"]) + 1):
            out.write(json.dumps({"step": step, "loss": off / step, "lm_loss": off / step, "msr": 0.5}) + "\n")
    print("elastron | cuda:0 a GPU (sm_90, 4 SMs)\nattention by sm_90a kernels (wgmma, TMA)")
    print("full attention by cuDNN 9 from 1024 tokens on")
'''
TESTS = BEGIN + r'''
if "--gtest_list_tests" in sys.argv:
    fault()
    print("Running main() from gtest_main.cc\nLinear.\n  Forward\nRoutedAttention.\n  Rows\n  Gradients")
    sys.exit(0)
for test in ("Rows", "Gradients"):
    print("[ RUN      ] RoutedAttention." + test, flush=True)
    if test == "Gradients":
        fault()
    print("[       OK ] RoutedAttention." + test + " (1 ms)", flush=True)
'''
BENCH = BEGIN + r'''
print(json.dumps({"device": "a GPU", "full_attention": "cuDNN"}), flush=True)
for line in sys.stdin:
    ARGUMENTS = line
    fault()
    print(json.dumps({"milliseconds": 2.0}), flush=True)
'''
MPIRUN = BEGIN + r'''
fault()
os.environ["OMPI_COMM_WORLD_RANK"] = "0"
at = sys.argv.index("bash")
os.execvp("bash", sys.argv[at:])
'''


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class GpuCheck(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.out, self.pids = os.path.join(self.folder, "out"), os.path.join(self.folder, "pids")
        self.scratch = os.path.join(self.folder, "scratch")
        os.mkdir(self.pids)
        os.mkdir(self.scratch)
        self.bundle = os.path.join(self.folder, "bundle.tar.gz")
        with tarfile.open(self.bundle, "w:gz") as archive:
            for name, text in (("commit", COMMIT + "\n"), ("bin/elastron", ELASTRON),
                               ("bin/ops_cuda_test", TESTS), ("bin/elastron_bench_gpu", BENCH),
                               ("bin/mpirun", MPIRUN)):
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(text), 0o755
                archive.addfile(info, io.BytesIO(text.encode()))

    def start(self, fault="", **more):
        env = {**os.environ, "GPU_NAME": "A GPU", "PIDS": self.pids, "FAULT": fault, "TMPDIR": self.scratch,
               "GPU_CHECK_LIMIT": "4", "GPU_CHECK_GRACE": "1", "GPU_CHECK_SECONDS": "500", **more}
        return subprocess.Popen(["bash", SOURCES + "/launch/gpu_check.sh", self.bundle, self.out], env=env,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def check(self, fault="", **more):
        """-> exit code, report, names of what failed"""
        process = self.start(fault, **more)
        self.text, _ = process.communicate(timeout=240)
        return self.look(process.returncode)

    def look(self, code):
        files = sorted(os.listdir(self.out))
        self.assertEqual(files, [f"A-GPU-{COMMIT}-logs.tar.gz", f"A-GPU-{COMMIT}.json"], self.text)
        self.assertEqual([p for p in os.listdir(self.pids) if alive(p)], [], self.text)
        self.assertEqual(os.listdir(self.scratch), [], self.text)
        with open(os.path.join(self.out, files[1])) as file:
            report = json.load(file)
        with tarfile.open(os.path.join(self.out, files[0])) as archive:
            self.logs = {m.name: archive.extractfile(m).read().decode() for m in archive}
        return code, report, {n: c["result"] for n, c in report["checks"].items() if c["result"] != "passed"}

    def test_all_is_well(self):
        code, report, failed = self.check()
        self.assertEqual((code, failed), (0, {}), self.text)
        self.assertTrue(report["finished"])
        self.assertEqual(report["commit"], COMMIT)
        names = list(report["checks"])
        for name in ("version", "products", "ops_cuda RoutedAttention", "self-check", "attention", "curve",
                     "train in bfloat16 by cuDNN", "who computes attention", "bfloat16 curve, own",
                     "resume from the CPU on the GPU, curve", "two ranks by nccl, curve"):
            self.assertIn(name, names)
        order = [report["checks"][n]["part"] for n in names]
        self.assertEqual(order, sorted(order))
        self.assertIn("step of 4 layers 65536", report["figures"]["attention"]["cases"])
        self.assertIn("RoutedAttention.Gradients (1 ms)", self.logs["ops_cuda_RoutedAttention.log"])

    def test_a_hanging_test_is_named_and_ended(self):
        code, report, failed = self.check("ops_cuda_test:Attention:hang")
        self.assertEqual(code, 1)
        self.assertEqual(failed, {"ops_cuda RoutedAttention":
                                  "failed (ran past 4 s, in RoutedAttention.Gradients)"}, self.text)
        self.assertIn("two ranks by nccl, curve", report["checks"])

    def test_one_that_takes_no_term_goes_with_its_children(self):
        code, report, failed = self.check("ops_cuda_test:Linear:deaf")
        self.assertEqual(code, 1)
        self.assertEqual(list(failed), ["ops_cuda Linear"], self.text)
        self.assertTrue(report["finished"])

    def test_a_stopped_one(self):
        self.assertEqual(list(self.check("ops_cuda_test:Linear:stopped")[2]), ["ops_cuda Linear"], self.text)

    def test_what_a_step_leaves_behind_is_ended(self):
        code, _, failed = self.check("elastron:device=cuda:orphan")
        self.assertEqual((code, failed), (0, {}), self.text)
        self.assertIn("processes were left and ended", self.logs["train_on_the_GPU.log"])

    def test_a_crash_is_that_steps_alone(self):
        code, _, failed = self.check("ops_cuda_test:Attention:crash")
        self.assertEqual(code, 1)
        self.assertEqual(failed, {"ops_cuda RoutedAttention":
                                  "failed (killed by SIGSEGV, in RoutedAttention.Gradients)"}, self.text)

    def test_a_benchmark_that_hangs_or_crashes(self):
        for kind in ("deaf", "crash"):
            _, report, failed = self.check(f"elastron_bench_gpu:out=12288:{kind}")
            self.assertEqual(list(failed), ["products"], self.text)
            self.assertIn("curve", report["checks"])
            # What was measured before is kept.
            self.assertIn("linear q_proj", report["figures"]["products"]["cases"])

    def test_training_that_fails_or_differs(self):
        _, report, failed = self.check("elastron:dtype=bfloat16:fail")
        self.assertEqual(failed["train in bfloat16 by cuDNN"],
                         "failed (exit code 5: it cannot be (here): do something else)", self.text)
        self.assertEqual(report["checks"]["curve"]["result"], "passed")
        failed = self.check(WRONG="1")[2]
        self.assertIn("curve", failed)
        self.assertIn("bfloat16 curve, own", failed)
        self.assertIn("more than 0.001 apart", failed["curve"])

    def test_ranks_that_hang(self):
        self.assertEqual(list(self.check("elastron:communicator=nccl:deaf")[2]), ["two ranks by nccl"],
                         self.text)

    def test_the_whole_has_an_end(self):
        code, report, failed = self.check("elastron:--version:deaf", GPU_CHECK_LIMIT="600",
                                          GPU_CHECK_SECONDS="8")
        self.assertEqual(code, 1)
        # What the step asks for is more than the whole has.
        limit = re.fullmatch(r"failed \(ran past ([\d.]+) s\)", failed["version"])
        self.assertTrue(limit, failed)
        self.assertLessEqual(float(limit[1]), 8)
        self.assertTrue(report["finished"])
        self.assertIn("train on the GPU", report["left_out"])

    def test_stopped_from_outside(self):
        process = self.start("ops_cuda_test:Linear:deaf", GPU_CHECK_LIMIT="600")
        path = os.path.join(self.out, f"A-GPU-{COMMIT}.json")
        while process.poll() is None:
            if os.path.exists(path):
                with open(path) as file:
                    seen = json.load(file)["checks"]
                if "ops_cuda list" in seen:
                    break
            time.sleep(0.1)
        # It is there before the next step ends, which takes long.
        self.assertNotIn("ops_cuda Linear", seen)
        process.send_signal(signal.SIGTERM)
        self.text, _ = process.communicate(timeout=120)
        code, report, _ = self.look(process.returncode)
        self.assertEqual(code, 1)
        self.assertFalse(report["finished"])
        self.assertEqual(report["checks"]["version"]["result"], "passed")

    def test_no_bundle(self):
        os.remove(self.bundle)
        process = self.start()
        text, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 3)
        self.assertIn("error: the bundle is missing", text)


unittest.main(verbosity=2)
