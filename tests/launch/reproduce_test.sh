#!/usr/bin/env bash
# reproduce_test.sh SOURCE PROGRAM CASE: the reproduction's short cut. whole: the claims' signs, and that nothing is
# done twice; stopped: TERM ends everything in time, and a new start goes on; words: what it refuses.
set -euo pipefail
source=$1 program=$2 case=$3
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
fail() {
  echo "FAILED: $1" >&2
  tail -n 40 "$out/log" >&2 || true
  exit 1
}
export ELASTRON=$program
run() { "$source/launch/reproduce.sh" ci --out "$out/results" >"$out/log" 2>&1; }

case $case in
  whole)
    run || fail "it ended with $?"
    for file in report.html results.md jobs.jsonl; do
      [ -s "$out/results/$file" ] || fail "there is no $file"
    done
    # Routers beside static patterns and beside all sparse, robust beside sensitive documents: of 200 steps and 24
    # documents of a kind the signs are clear. That the task MLP tells kinds apart (C6) takes more steps.
    for claim in C1-random C1-scores C2 C3 C4 C9; do
      grep -qE "^claim ${claim}(-[0-9.]+)? holds" "$out/log" || fail "claim $claim does not hold"
    done
    ! grep "^claim .* does not hold" "$out/log" | grep -v "^claim C6" || fail "a claim does not hold"
    jobs=$(wc -l <"$out/results/jobs.jsonl")
    printf '{"figure": "sta' >>"$out/results/jobs.jsonl"  # as a power cut leaves a line
    cp "$out/results/results.md" "$out/first.md"
    run || fail "the second start ended with $?"
    [ "$jobs" = "$(wc -l <"$out/results/jobs.jsonl")" ] || fail "jobs were done twice"
    diff "$out/first.md" "$out/results/results.md" >&2 || fail "the second start wrote other results"
    ;;
  stopped)
    "$source/launch/reproduce.sh" ci --out "$out/results" >"$out/log" 2>&1 &
    child=$!
    for _ in $(seq 1800); do
      ! compgen -G "$out/results/routers/*/metrics.jsonl" >/dev/null || break
      sleep 0.1
    done
    compgen -G "$out/results/routers/*/metrics.jsonl" >/dev/null || fail "no training began"
    kill -TERM $child
    rc=0
    wait $child || rc=$?
    [ $rc = 75 ] || fail "TERM ended it with $rc"
    ! pgrep -f "$out/results" >/dev/null || fail "something still runs: $(pgrep -af "$out/results")"
    grep -q "run again to go on" "$out/log" || fail "it does not say how to go on"
    # The run that was stopped has a checkpoint, from which the next start goes on.
    compgen -G "$out/results/routers/*/checkpoints/latest" >/dev/null || fail "no checkpoint"
    ;;
  words)
    for arguments in "--jobs 0" "slow" "--out"; do
      rc=0
      # shellcheck disable=SC2086
      "$source/launch/reproduce.sh" $arguments >"$out/log" 2>&1 || rc=$?
      [ $rc = 2 ] || fail "'$arguments' ended with $rc"
      [ "$(wc -l <"$out/log")" = 1 ] || fail "'$arguments': more than one line"
    done
    mkdir "$out/results"
    echo '{"mode": "full"}' >"$out/results/reproduction.json"
    rc=0
    run || rc=$?
    [ $rc = 2 ] || fail "another mode's folder ended with $rc"
    echo '{"mode": "ci", "program": "elastron 0.0.1 (abc)",' >"$out/results/reproduction.json"
    rc=0
    run || rc=$?
    { [ $rc = 2 ] && grep -q "another program" "$out/log"; } || fail "another program's folder ended with $rc"
    rc=0
    flock "$out/results/lock" "$source/launch/reproduce.sh" ci --out "$out/results" >"$out/log" 2>&1 || rc=$?
    { [ $rc = 2 ] && grep -q "another start" "$out/log"; } || fail "a folder in use ended with $rc"
    rc=0
    ELASTRON=/none run || rc=$?
    { [ $rc = 2 ] && grep -q "no program" "$out/log"; } || fail "a missing program ended with $rc"
    ;;
esac
