"""The parts of a check, in the order of their worth: what decides whether a GPU computes rightly and
how fast comes before what is good to know."""
import os
import shutil
import sys

import machine
import training

HERE = os.path.dirname(os.path.abspath(__file__))
GPU_SCRIPTS = os.path.dirname(HERE)
# The test of a full memory makes a call fail on purpose.
MEMCHECK = "-*RunsOut*:*Large*:*Random*"


class Check:
    """small: benchmarks on the CPU, and small, to try the parts where there is no GPU."""

    def __init__(self, steps, bundle, small):
        self.steps, self.bundle, self.small = steps, bundle, small
        self.report, self.suites, self.torch = steps.report, {}, False
        self.runs = training.Runs(small)

    def folder(self, name):
        return os.path.join(self.bundle.work, name)

    def elastron(self, name, limit, arguments, **env):
        return self.steps.run(name, limit, [self.bundle.program("elastron")] + arguments,
                              self.bundle.environment(**env))

    def python(self, name, limit, script, *arguments):
        """A script that keeps its figures under the step's name, and begins nothing when its time is
        nearly over."""
        seconds = max(min(limit * self.steps.budget.slow, self.steps.budget.left()) - 15, 1)
        return self.steps.run(
            name, limit, [sys.executable, script, *arguments, "--seconds", f"{seconds:.0f}", "--json",
                          self.report.figure(name.replace(" ", "-"))] + self.sizes(),
            self.bundle.for_python())

    def sizes(self):
        return ["--device", "cpu", "--small"] if self.small else ["--device", "cuda"]

    def alone(self, name, limit, cases):
        return self.python(name, limit, os.path.join(GPU_SCRIPTS, "alone.py"), cases, "--bench",
                           self.bundle.program("elastron_bench_gpu"))

    def attention(self, name, limit, only, *more):
        return self.python(name, limit, os.path.join(GPU_SCRIPTS, "..", "attention", "gpu.py"), "--bench",
                           self.bundle.program("elastron_bench_gpu"), "--only", only, *more)

    def compare(self, name, limit, only, *more):
        return self.python(name, limit, os.path.join(GPU_SCRIPTS, "compare.py"), "--bench",
                           self.bundle.program("elastron_bench_gpu"), "--only", only, *more)

    # 1: it starts, and the products run.
    def starts(self):
        self.elastron("version", 15, ["--version"])
        if shutil.which("nvidia-smi"):
            self.steps.run("nvidia-smi", 15, ["nvidia-smi"])
        self.alone("products", 40, "products")

    # 2: every op against the CPU's, suite by suite; then what a run's start finds out by itself.
    def ops(self):
        self.suites_of_ops()
        self.elastron("self-check", 40, self.runs.tiny("cuda", self.folder("self-check"), **{
            "device.self_check": "full", "train.steps": 1, "checkpoint.every": 0}))

    def suites_of_ops(self):
        for program in self.bundle.tests():
            tests = os.path.basename(program)[:-len("_test")]
            log = self.report.log(f"{tests} list")
            if not self.steps.run(f"{tests} list", 20, [program, "--gtest_list_tests"],
                                  self.bundle.environment()):
                continue
            with open(log, errors="replace") as file:
                suites = [line.split("#")[0].strip() for line in file if line[:1].isalpha()]
            # What a run leans on first: the primitives of the fast kernels, these, attention.
            self.suites[program] = sorted((s for s in suites if s.endswith(".")),
                                          key=lambda s: ("Hopper" not in s, "Attention" not in s))
            for suite in self.suites[program]:
                self.steps.run(f"{tests} {suite[:-1]}", 25, [program, f"--gtest_filter={suite}*"],
                               self.bundle.environment())

    # 3: attention, a step and a shard, without a peer.
    def alone_times(self):
        self.alone("attention", 75, "attention")

    # 4: PyTorch's cuDNN attention and products beside ours.
    def peers(self):
        self.torch = machine.has_pytorch(on_gpu=not self.small)
        if not self.torch:
            self.report.leave_out("comparisons with PyTorch", "this Python has none that sees a GPU")
            return
        self.attention("attention and cuDNN", 40, "forward,backward", "--lengths", "65536", "--turns", "3")
        self.compare("products and PyTorch", 25, "linear", "--turns", "3")

    # 5: training on both devices, bfloat16 on the fast path, checkpoints that change devices.
    def trains(self):
        cpu, gpu = self.folder("cpu"), self.folder("gpu")
        both = self.elastron("train on the CPU", 40, self.runs.tiny("cpu", cpu))
        both &= self.elastron("train on the GPU", 40, self.runs.tiny("cuda", gpu))
        if both:
            self.steps.look("curve", lambda: training.compare(cpu, gpu, 1e-3))
        self.fast_path()
        if both:
            for begun, device in ((gpu, "cpu"), (cpu, "cuda")):
                name = f"resume from {'the GPU on the CPU' if begun == gpu else 'the CPU on the GPU'}"
                copy = self.folder("resumed-" + os.path.basename(begun))
                self.runs.begun_from(begun, copy)
                if self.elastron(name, 30, self.runs.tiny(device, copy)):
                    self.steps.look(name + ", curve", lambda: training.compare(cpu, copy, 1e-3))

    def fast_path(self):
        model = self.folder("model")
        training.model_of_the_fast_path(model)
        ways = {"library": "cuda", "own": "cuda", "cpu": "cpu"}
        passed = {}
        for way, device in ways.items():
            more = {"model.full_attention": "own"} if way == "own" else {}
            name = {"library": "train in bfloat16 by cuDNN", "own": "train in bfloat16 by our kernels",
                    "cpu": "train in bfloat16 on the CPU"}[way]
            passed[way] = self.elastron(name, 40, self.runs.fast(device, self.folder("fast-" + way), model,
                                                                 **more))
        if passed["library"] and not self.small:
            log = self.report.log("train in bfloat16 by cuDNN")
            self.steps.look("who computes attention", lambda: training.took_the_fast_path(log))
        # Gates flip where a logit is near zero and bfloat16 rounds otherwise: the first step.
        for way in ("library", "own"):
            if passed["cpu"] and passed[way]:
                self.steps.look(f"bfloat16 curve, {way}", lambda way=way: training.compare(
                    self.folder("fast-cpu"), self.folder("fast-" + way), 0.02, ("lm_loss",), 1))

    # 6: two ranks on the GPU. NCCL takes them if it thinks of two machines.
    def two_ranks(self):
        reference = self.folder("cpu")
        for communicator in ("mpi", "nccl"):
            folder, session = self.folder(communicator), self.folder("session")
            os.makedirs(session, exist_ok=True)
            env = self.bundle.environment(OMPI_MCA_orte_tmpdir_base=session, OMP_NUM_THREADS="2",
                                          NCCL_SOCKET_IFNAME="lo", NCCL_MNNVL_ENABLE="0")
            own = '[ "$1" = mpi ] || export NCCL_HOSTID=rank-$OMPI_COMM_WORLD_RANK; shift; exec "$@"'
            arguments = self.runs.tiny("cuda", folder, **{"checkpoint.every": 0,
                                                              "parallel.communicator": communicator})
            command = [self.bundle.program("mpirun"), "-np", "2", "--oversubscribe", "--allow-run-as-root",
                       "--bind-to", "none", "bash", "-c", own, "two_ranks", communicator,
                       self.bundle.program("elastron")] + arguments
            if self.steps.run(f"two ranks by {communicator}", 30, command, env):
                self.steps.look(f"two ranks by {communicator}, curve",
                                lambda folder=folder: training.compare(reference, folder, 1e-3))

    # 7: memory of the attention kernels, and 8: what else there is time for.
    def sanitize(self, tool, wanted, limit):
        if not shutil.which("compute-sanitizer"):
            self.report.leave_out(tool, "no compute-sanitizer")
            return
        for program, suites in self.suites.items():
            for suite in suites:
                if any(word in suite for word in wanted):
                    # The tool's own libraries are not ours.
                    command = ["compute-sanitizer", "--tool", tool, "--target-processes", "all",
                               "--error-exitcode", "9", "env", f"LD_LIBRARY_PATH={self.bundle.libraries}",
                               program, f"--gtest_filter={suite}{MEMCHECK}"]
                    self.steps.run(f"{tool} {suite[:-1]}", limit, command)

    def memcheck(self):
        self.sanitize("memcheck", ("Hopper", "Attention"), 30)

    def rest(self):
        if self.torch:
            self.attention("attention and FlexAttention", 90, "outputs,dispatch,flex", "--turns", "3")
            self.compare("steps and PyTorch", 90, "step,head", "--turns", "2")
            self.attention("attention of 256K", 60, "forward,shards,choice", "--lengths", "262144", "--turns",
                           "1")
        self.sanitize("racecheck", ("Hopper", "Norm", "Pool", "CrossEntropy"), 60)

    # What a part may take, in seconds: 500 in all, of which the last has what the others leave.
    def parts(self):
        return [(self.starts, 45), (self.ops, 100), (self.alone_times, 80), (self.peers, 70),
                (self.trains, 90), (self.two_ranks, 60), (self.memcheck, 60), (self.rest, 600)]
