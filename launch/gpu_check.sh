#!/usr/bin/env bash
# gpu_check.sh [BUNDLE] [FOLDER]: on a machine with one GPU, from what launch/gpu_bundle.sh packed
# (default gpu-bundle.tar.xz), in 9 minutes at most and in the order of its worth: our products alone;
# every op against the CPU; attention, a training step and a shard alone; PyTorch beside them, where it is
# installed; training against the CPU's curve, in bfloat16 by the fast kernels too, checkpoints from one
# device to the other; two ranks on the GPU over MPI and over NCCL; compute-sanitizer on the attention
# kernels; then longer comparisons. Needs the driver, the libraries of CUDA (toolkit or Python packages)
# and python3. A step that hangs is ended with all it started, and the next one runs.
# Writes FOLDER/<gpu>-<commit>.json after every step and FOLDER/<gpu>-<commit>-logs.tar.gz after every part
# (default bench/results). Ends with 1 when a step failed.
# GPU_CHECK_SECONDS: for all (530). GPU_CHECK_LIMIT: the most for a step. GPU_CHECK_GRACE: from TERM to
# KILL (5). GPU_CHECK_SLOW: steps and parts have this many times their time (1). GPU_NAME: stands in for
# what nvidia-smi says. GPU_CHECK_SMALL=1: tries it without a GPU, with a program for an emulated one in the
# bundle; benchmarks run on the CPU then, and are small.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
command -v python3 >/dev/null || { echo "error: there is no python3 (PATH): install one" >&2; exit 2; }
exec python3 -B bench/gpu/check "${1:-gpu-bundle.tar.xz}" "${2:-bench/results}"
