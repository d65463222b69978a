"""What the machine has: its GPU, libraries, PyTorch. And what our programs need around them."""
import glob
import os
import re
import shutil
import site
import subprocess
import sys
import tarfile


def unpack(bundle, work):
    """The bundle, by Python's own tarfile: a bare machine has no xz."""
    with tarfile.open(bundle) as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extractall(work, filter="tar")
        else:
            archive.extractall(work)
    with open(os.path.join(work, "commit")) as file:
        return file.read().strip()


def gpu_name():
    """Of nvidia-smi; GPU_NAME stands in for it. '' without a GPU."""
    name = os.environ.get("GPU_NAME", "")
    if not name and shutil.which("nvidia-smi"):
        try:
            name = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], text=True,
                                  capture_output=True, timeout=30).stdout.split("\n")[0].strip()
        except subprocess.TimeoutExpired:
            pass
    return re.sub("[^A-Za-z0-9]", "-", name)


def cuda_folders():
    """cuBLASLt, cuDNN, NCCL and the runtime: of the toolkit, or of Python packages."""
    roots = site.getsitepackages() + [site.getusersitepackages()] + [p for p in sys.path if p]
    found = [f for f in ["/usr/local/cuda/lib64"] if os.path.isdir(f)]
    for root in dict.fromkeys(roots):
        found += sorted(glob.glob(root + "/nvidia/*/lib"))
    return list(dict.fromkeys(found))


class Bundle:
    def __init__(self, work):
        self.work = work
        self.libraries = ":".join([os.path.join(work, "lib")] + cuda_folders()
                                  + [p for p in [os.environ.get("LD_LIBRARY_PATH")] if p])

    def program(self, name):
        return os.path.join(self.work, "bin", name)

    def tests(self):
        """The test programs of the bundle."""
        return sorted(glob.glob(self.program("*_test")))

    def environment(self, **more):
        """For our own programs, and for nothing else: Python and compilers keep their libraries."""
        env = dict(os.environ, LD_LIBRARY_PATH=self.libraries, **more)
        # Open MPI and PMIx look for their parts where they were installed.
        env["OMPI_MCA_mca_base_component_path"] = os.path.join(self.work, "openmpi")
        env["OMPI_MCA_mca_base_component_show_load_errors"] = "0"
        env["PMIX_MCA_mca_base_component_path"] = os.path.join(self.work, "pmix")
        env["PMIX_MCA_mca_base_component_show_load_errors"] = "0"
        # What a start finds out about this GPU is found out anew, and left nowhere.
        env["XDG_CACHE_HOME"] = os.path.join(self.work, "cache")
        return env

    def for_python(self):
        return dict(os.environ, ELASTRON_BENCH_LIBRARIES=self.libraries, PYTHONUNBUFFERED="1",
                    ELASTRON_BENCH_GPU=self.program("elastron_bench_gpu"))


def has_pytorch(on_gpu):
    look = "import torch" + ("; assert torch.cuda.is_available()" if on_gpu else "")
    try:
        return subprocess.run([sys.executable, "-c", look], stderr=subprocess.DEVNULL, timeout=60).returncode == 0
    except subprocess.TimeoutExpired:
        return False
