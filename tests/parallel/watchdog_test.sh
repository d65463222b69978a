#!/usr/bin/env bash
# watchdog_test.sh MPIRUN_SH PROGRAM: jobs that hang end within seconds, with exit code 6 and one
# line that names the rank, the phase and who is missing; jobs that do not hang are left alone.
set -uo pipefail
mpirun_sh=$1
program=$2
failures=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT

fail() {
  printf 'FAILED: %s\n%s\n' "$1" "$(cat "$out")" >&2
  failures=$((failures + 1))
}

# hangs SCENARIO RANKS PATTERN...: every pattern must match the one line that starts with error:.
hangs() {
  local scenario=$1 ranks=$2 line code
  shift 2
  SECONDS=0
  timeout -s KILL 60 "$mpirun_sh" "$ranks" "$program" "$scenario" >"$out" 2>&1
  code=$?
  [ "$code" -eq 6 ] || fail "$scenario on $ranks ranks: exit code $code, not 6"
  [ "$SECONDS" -le 15 ] || fail "$scenario on $ranks ranks: took $SECONDS s"
  [ "$(grep -c '^error: ' "$out")" -eq 1 ] || fail "$scenario on $ranks ranks: not one error line"
  line=$(grep '^error: ' "$out")
  for pattern in "$@"; do
    [[ $line =~ $pattern ]] || fail "$scenario on $ranks ranks: no match for: $pattern"
  done
}

# passes SCENARIO RANKS
passes() {
  timeout -s KILL 60 "$mpirun_sh" "$2" "$program" "$1" >"$out" 2>&1
  local code=$?
  [ "$code" -eq 0 ] || fail "$1 on $2 ranks: exit code $code"
  [ "$(grep -c 'reached the end' "$out")" -eq "$2" ] || fail "$1 on $2 ranks: not all finished"
}

for scenario in none before-first-beat long-phase slow-but-alive off after-the-watchdog; do
  passes "$scenario" 2
done
# Those who wait hear the beats of the one they wait for.
passes others-still-load 3
# Whoever notices first speaks; all name the rank that is missing and what it was doing.
hangs loop 3 'no progress for [0-9.]+ s in step 12 backward' \
  'missing: rank 2 \(step 12 backward, not in a collective, 4 started, last waited for all_reduce \(grad\), last beat [0-9.]+ s ago\)$'
hangs sleep 2 'missing: rank 1 \('
# A stopped process cannot speak for itself.
hangs stopped 3 'rank [01], waiting in all_reduce \(grad\), collective 5' 'missing: rank 2 \('
# Nor is it one of those who wait, though it stopped while it waited.
hangs stopped-in-a-collective 3 'no progress for' \
  'missing: rank 0 \(step 12 forward, stopped for [0-9.]+ s, waiting in all_reduce \(grad\), collective 6, last beat [0-9.]+ s ago\)$'
hangs deadlock 3 'no progress' 'all ranks wait, for collectives that cannot complete: ' \
  'rank 0 barrier \(grad\), collective 6; rank 1 barrier \(grad\), collective 6; rank 2 barrier \(data\), collective 6$'
hangs sleep 1 'in step 12 backward' 'rank 0, '

[ "$failures" -eq 0 ] || exit 1
echo "all scenarios as expected"
