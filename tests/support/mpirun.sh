#!/usr/bin/env bash
# mpirun.sh RANKS PROGRAM [ARGS...]: run a test on that many ranks of this machine, more than it has
# cores if need be. One thread per rank; idle ranks yield instead of spinning.
set -euo pipefail
ranks=$1
shift
flags=(--oversubscribe --bind-to none --mca mpi_yield_when_idle 1 --mca btl self,vader,tcp
       --mca btl_vader_single_copy_mechanism none)
[ "$(id -u)" -ne 0 ] || flags+=(--allow-run-as-root)
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" OMP_WAIT_POLICY=passive
# Open MPI itself leaks at exit.
export LSAN_OPTIONS="detect_leaks=0" ASAN_OPTIONS="detect_leaks=0:${ASAN_OPTIONS:-}"
exec mpirun "${flags[@]}" -np "$ranks" "$@"
