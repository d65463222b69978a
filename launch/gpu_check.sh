#!/usr/bin/env bash
# gpu_check.sh [BUNDLE] [FOLDER]: on a machine with one GPU, from what launch/gpu_bundle.sh packed
# (default gpu-bundle.tar.xz): the op tests against the CPU, router training on the GPU against the
# CPU's curve, checkpoints from one device to the other, two ranks on the GPU over MPI and over NCCL,
# compute-sanitizer on op tests, and with PyTorch installed the benchmarks; in 9 minutes at most.
# Needs python3 for the comparison. Writes FOLDER/<gpu>-<commit>.json (default bench/results), logs
# beside it. Ends with 1 when a check failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bundle=${1:-gpu-bundle.tar.xz}
folder=${2:-bench/results}
if [ ! -f "$bundle" ]; then
  echo "error: the bundle is missing ($bundle): make it with launch/gpu_bundle.sh" >&2
  exit 3
fi
SECONDS=0
budget=530
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar -C "$work" -xJf "$bundle" || exit 3
commit=$(cat "$work/commit")

# cuBLASLt: of the toolkit, or of a Python package.
cuda=""
for place in /usr/local/cuda/lib64 $(python3 -c '
import glob, site, sys
for root in site.getsitepackages() + [site.getusersitepackages()]:
    print(*glob.glob(root + "/nvidia/*/lib"))' 2>/dev/null); do
  [ -e "$place" ] && cuda="$cuda:$place"
done
export LD_LIBRARY_PATH="$work/lib$cuda${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export OMPI_MCA_mca_base_component_path="$work/openmpi" OMPI_MCA_mca_base_component_show_load_errors=0
gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -1)
if [ -z "$gpu" ] && [ -z "${GPU_NAME:-}" ]; then
  echo "error: nvidia-smi shows no GPU (driver): run this on a machine with one" >&2
  exit 2
fi
gpu=$(echo "${GPU_NAME:-$gpu}" | tr -c 'A-Za-z0-9\n' '-')
mkdir -p "$folder"
result="$folder/$gpu-$commit"
: >"$result.steps"

# check NAME SECONDS COMMAND...
check() {
  local name=$1 limit=$2 begin end status=passed left=$((budget - SECONDS))
  shift 2
  [ "$limit" -le "$left" ] || limit=$((left > 5 ? left : 5))
  begin=$(date +%s%N)
  timeout "$limit" "$@" >"$result-$name.log" 2>&1 || status="failed (exit code $?)"
  end=$(date +%s%N)
  echo "$name	$status	$(((end - begin) / 1000000))" >>"$result.steps"
  echo "$name: $status"
}

train() {  # DEVICE FOLDER
  "$work/bin/elastron" train configs/tiny/router.yaml --set device="$1" --set output.dir="$2" \
    --set train.steps=20 --set checkpoint.every=10 --set checkpoint.keep=9 \
    --set output.tensorboard=false
}
two_ranks() {  # COMMUNICATOR FOLDER: NCCL takes two ranks on one GPU if it thinks of two machines
  mkdir -p "$work/session"
  OMPI_MCA_orte_tmpdir_base="$work/session" OMP_NUM_THREADS=2 "$work/bin/mpirun" -np 2 --oversubscribe \
    --allow-run-as-root --bind-to none bash -c '
      [ "$2" = mpi ] || export NCCL_HOSTID=rank-$OMPI_COMM_WORLD_RANK
      exec "$1/bin/elastron" train configs/tiny/router.yaml --set device=cuda \
        --set output.dir="$3" --set train.steps=20 --set output.tensorboard=false \
        --set checkpoint.every=0 --set parallel.communicator="$2"' two_ranks "$work" "$1" "$2"
}
train_both() { train cpu "$work/cpu" && train cuda "$work/gpu"; }
resume() {  # begun on DEVICE, ended on the other
  cp -r "$work/$1" "$work/resumed-$1" && rm "$work/resumed-$1/checkpoints/step-00000020.h5" \
    && train "$2" "$work/resumed-$1"
}
same() {  # curves of two folders
  python3 - "$work/cpu" "$1" <<'PYTHON'
import json, sys
def curve(folder):
    lines = [json.loads(l) for l in open(folder + "/metrics.jsonl")]
    return {l["step"]: l for l in lines if "event" not in l}
a, b = curve(sys.argv[1]), curve(sys.argv[2])
assert sorted(a) == sorted(b) and a, (sorted(a), sorted(b))
worst = 0
for step in a:
    for key in ("loss", "lm_loss", "msr"):
        worst = max(worst, abs(a[step][key] - b[step][key]) / max(abs(a[step][key]), 1e-3))
print("largest relative difference", worst)
sys.exit(0 if worst < 1e-3 else 1)
PYTHON
}

check version 30 "$work/bin/elastron" --version
check ops 180 "$work/bin/ops_cuda_test" --gtest_brief=1
check train 120 bash -c "$(declare -f train train_both); work=$work; train_both"
check curve 30 bash -c "$(declare -f same); work=$work; same $work/gpu"
for communicator in mpi nccl; do
  check "two_ranks_$communicator" 60 bash -c "$(declare -f two_ranks same); work=$work
    two_ranks $communicator $work/$communicator && same $work/$communicator"
done
check resume_gpu_to_cpu 60 bash -c "$(declare -f train resume same); work=$work
  resume gpu cpu && same $work/resumed-gpu"
check resume_cpu_to_gpu 60 bash -c "$(declare -f train resume same); work=$work
  resume cpu cuda && same $work/resumed-cpu"
if command -v compute-sanitizer >/dev/null; then
  # The test of a full memory makes a call fail on purpose.
  check memcheck 120 compute-sanitizer --tool memcheck --error-exitcode 9 \
    "$work/bin/ops_cuda_test" --gtest_filter='-*RunsOut*:*Large*:*Random*' --gtest_brief=1
  check racecheck 90 compute-sanitizer --tool racecheck --error-exitcode 9 \
    "$work/bin/ops_cuda_test" --gtest_filter='*Borders*:*RmsNorm*:*CrossEntropy*:*Pool*' \
    --gtest_brief=1
fi

# What is left of the time goes to the benchmarks: a case that has begun may take half a minute.
left=$((budget - SECONDS))
if [ "$left" -gt 60 ] && python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
  export ELASTRON_BENCH_GPU="$work/bin/elastron_bench_gpu"
  check attention "$((left / 2))" bench/attention/run --device cuda --seconds $((left / 2 - 25)) \
    --json "$result-attention.json"
  left=$((budget - SECONDS))
  check benchmarks "$left" python3 bench/gpu/compare.py --bench "$ELASTRON_BENCH_GPU" \
    --seconds $((left - 40)) --json "$result-benchmarks.json"
fi

python3 - "$result" "$gpu" "$commit" <<'PYTHON'
import json, os, sys
result, gpu, commit = sys.argv[1:]
steps = [line.rstrip("\n").split("\t") for line in open(result + ".steps")]
report = {"gpu": gpu, "commit": commit,
          "checks": {n: {"result": r, "milliseconds": int(ms)} for n, r, ms in steps}}
for name in ("attention", "benchmarks"):
    if os.path.exists(f"{result}-{name}.json"):
        report[name] = json.load(open(f"{result}-{name}.json"))
        os.remove(f"{result}-{name}.json")
json.dump(report, open(result + ".json", "w"), indent=1)
PYTHON
failed=$(grep -c failed "$result.steps")
rm "$result.steps"
echo "$result.json: $failed failed"
[ "$failed" -eq 0 ]
