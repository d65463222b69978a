#!/usr/bin/env bash
# Installs what is missing, builds the program, trains a router on the small backbone with two ranks on
# the CPU, and compares it with full, sparse and random static attention. Safe to run again: training
# starts afresh, and what was there is moved to previous/ in the same folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/no_arguments.sh
no_arguments launch/quickstart.sh "installs what is missing, builds, trains a router on the small backbone
on the CPU and compares it with full, sparse and random static attention; takes a few minutes" "$@"
config=configs/tiny/router.yaml
run=runs/tiny-router

# phase NAME COMMAND...: runs it, and notes how long it took.
times=""
phase() {
  local name=$1 begin=$SECONDS
  shift
  "$@"
  times+="$name $((SECONDS - begin)) s, "
}

phase install launch/setup.sh
phase build launch/build.sh release elastron
phase train launch/elastron-run -np 2 train "$config" --resume none
phase eval launch/elastron-run -np 2 eval "$config" --checkpoint "$run" --compare \
  --out "$run/comparison.json"
cat <<TEXT

checkpoint  $run/checkpoints/$(cat "$run/checkpoints/latest")
metrics     $run/metrics.jsonl
config      $run/config.yaml
figures     $run/comparison.json
time        ${times}in all $SECONDS s
TEXT
