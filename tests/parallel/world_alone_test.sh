#!/usr/bin/env bash
# world_alone_test.sh PROGRAM: without mpirun the program runs as a world of one, says nothing and
# leaves nothing behind; also as root and without any network.
set -uo pipefail
program=$1
failures=0
for name in $(compgen -v | grep -E '^(OMPI_|PMIX_|PMI_|SLURM_)'); do unset "$name"; done
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# Open MPI itself leaks at exit.
export TMPDIR=$scratch LSAN_OPTIONS=detect_leaks=0

# expect CODE OUTPUT COMMAND...
expect() {
  local code=$1 output=$2 actual actual_code
  shift 2
  actual=$("$@" 2>&1)
  actual_code=$?
  if [ "$actual_code" -ne "$code" ] || [ "$actual" != "$output" ]; then
    printf 'FAILED: %s\n  exit code %s, not %s\n  output: %s\n' "$*" "$actual_code" "$code" "$actual"
    failures=$((failures + 1))
  fi
}

expect 0 "" "$program"
expect 6 "" "$program" 6
# Many at a time do not disturb each other: no folder is shared, or wanted.
expect 0 "" env TMPDIR=/proc/nowhere "$program"
if unshare --net --map-root-user true 2>/dev/null; then
  expect 0 "" unshare --net --map-root-user "$program"
else
  echo "not tested without a network: unshare is not allowed here"
fi
# srun without PMI would run as many worlds of one as there are tasks.
expect 2 "error: srun started this task without telling MPI about the others (SLURM_PROCID=1):\
 start with srun --mpi=pmix, or with mpirun" env SLURM_PROCID=1 "$program"
left=$(find "$scratch" -mindepth 1)
if [ -n "$left" ]; then
  printf 'FAILED: left behind: %s\n' "$left"
  failures=$((failures + 1))
fi
[ "$failures" -eq 0 ]
