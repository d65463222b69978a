#!/usr/bin/env bash
# Trains and judges routers on the small backbone, and makes a page of what the paper claims and what came of
# it. Goes on where it was stopped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
usage='usage: launch/reproduce.sh [quick|full|ci] [--out FOLDER] [--jobs N]

installs what is missing, builds, trains routers on the backbone in configs/small, judges them beside static
patterns, and writes FOLDER/report.html and FOLDER/results.md (default: runs/reproduction-MODE)

  quick   15 minutes on 2 cores: accuracy against sparsity, elastic and static, beyond the training length
  full    an evening: every figure
  ci      five minutes: the signs of the first claims, of fewer steps and documents

  --jobs N   as many at a time, each with one thread (default: the number of cores)

Run again after a stop, it does what is missing. Another mode or another program want another folder.
ELASTRON=PROGRAM runs one that is there already, of a build folder; nothing is installed or built then.'
refuse() {
  echo "error: $1 (command line): see launch/reproduce.sh --help" >&2
  exit 2
}
cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)
mode=quick out="" jobs=$cores
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) echo "$usage"; exit 0 ;;
    quick | full | ci) mode=$1 ;;
    --out) [ $# -gt 1 ] || refuse "--out needs a folder"; out=$2; shift ;;
    --jobs) [ $# -gt 1 ] || refuse "--jobs needs a number"; jobs=$2; shift ;;
    *) refuse "unknown argument '$1'" ;;
  esac
  shift
done
[[ $jobs =~ ^[1-9][0-9]*$ ]] || refuse "--jobs '$jobs' is no number above 0"
out=${out:-runs/reproduction-$mode}

# What a mode takes. Documents are of each kind; steps of routers.
sparsities="0.25 0.5 0.625 0.75 0.8125 0.875 0.9375" targets="0.3 0.5 0.7 0.8 0.875" seeds="1 2 3" draws="1 2 3 4 5"
documents=128 steps=600 lengths="512 1024 2048 4096"
case $mode in
  quick) sparsities="0.5 0.75 0.875" targets="0.6 0.875" draws="1 2 3"
         documents=48 steps=300 lengths="512 1024 2048" ;;
  ci) sparsities="0.875" targets="0.875"
      documents=24 steps=200 lengths="" ;;
esac
kinds="needle recall trace hops count gist continuation pattern"  # as in the configurations
middle=0.875  # the target of what is compared otherwise

if [ -z "${ELASTRON:-}" ]; then
  launch/setup.sh
  launch/build.sh release elastron elastron_bench_inference
fi
program=${ELASTRON:-build/elastron}
[ -x "$program" ] || refuse "ELASTRON: there is no program '$program'"
bench=$(dirname "$program")/bench/elastron_bench_inference
[ "$mode" != full ] || [ -x "$bench" ] || refuse "ELASTRON: full needs '$bench' too"
export OMP_NUM_THREADS=1

config=configs/small
mkdir -p "$out"
exec 9>"$out/lock"
flock -n 9 || refuse "another start is at work in $out"
record=$out/jobs.jsonl    # what figures are made of
others=$out/others.jsonl  # what that needed
for file in "$record" "$others"; do
  touch "$file"
  # What a power cut left of a line.
  [ -z "$(tail -c 1 "$file")" ] || sed -i '$d' "$file"
done

# --- Jobs: a command that makes a file or a folder, and a line of the record once it has.

json_text() {
  local text=${1//\\/\\\\}
  printf '"%s"' "${text//\"/\\\"}"
}
json_value() {  # a number as it is
  if [[ $1 =~ ^-?[0-9]+(\.[0-9]+)?$ ]]; then printf '%s' "$1"; else json_text "$1"; fi
}
# job FIGURE SERIES AT SEED OF FILE COMMAND...: nothing where it was done, by this command. Figure "-": of none
job() {
  local figure=$1 series=$2 at=$3 seed=$4 of=$5 file=$6
  shift 6
  local line begin seconds record=$record
  [ "$figure" != - ] || record=$others
  line=$(printf '"figure": "%s", "series": "%s", "at": %s, "seed": %s, "of": "%s", "file": "%s", "command": %s' \
    "$figure" "$series" "$(json_value "$at")" "$seed" "$of" "$file" "$(json_text "$*")")
  if grep -qF -- "$line" "$record" && [ -e "$out/$file" ]; then return 0; fi
  mkdir -p "$(dirname "$out/$file")"
  begin=$(date +%s.%N)
  if ! "$@" >"$out/$file.log" 2>&1; then
    echo "error: $* ended with an error: see $out/$file.log" >&2
    tail -n 3 "$out/$file.log" >&2
    return 1
  fi
  seconds=$(awk "BEGIN { printf \"%.1f\", $(date +%s.%N) - $begin }")
  printf '{%s, "seconds": %s}\n' "$line" "$seconds" >>"$record"
  echo "$file: $seconds s"
}

# As many chains of jobs at a time as there are cores; the first that fails ends all.
failed=$out/failed
rm -f "$failed"
set -m  # each chain is a process group, so that it can be ended whole
start() {
  while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n || true; done
  [ ! -e "$failed" ] || finish
  (
    exec 9>&-
    trap '[ $? -eq 0 ] || touch "$failed"' EXIT
    "$@"
  ) &
}
finish() {
  wait
  [ -e "$failed" ] || return 0
  echo "stopped: run again when that is mended, what is done stays" >&2
  exit 3
}
end_all() {
  local group groups
  trap '' INT TERM
  groups=$(jobs -rp)
  for group in $groups; do kill -TERM -- "-$group" 2>/dev/null || true; done
  # Training saves a checkpoint first; the shell that waited for it is gone by then.
  for group in $groups; do
    while kill -0 -- "-$group" 2>/dev/null; do sleep 0.1; done
  done
  echo "stopped on request: run again to go on" >&2
  exit 75
}
trap end_all INT TERM

# evaluate FIGURE SERIES AT SEED FILE WORDS ARGUMENTS...: an evaluation on documents of so many words
evaluate() {
  local figure=$1 series=$2 at=$3 seed=$4 file=$5 words=$6
  shift 6
  job "$figure" "$series" "$at" "$seed" eval "$file" "$program" eval $config/router.yaml "$@" \
    --set "data.synthetic.lengths=[$words]" --set "data.max_tokens=$((words > 2048 ? words + 52 : 2100))" \
    --set "data.synthetic.eval_per_kind=$documents" --out "$out/$file"
}
# trained FIGURE SERIES AT SEED NAME CONFIGURATION SETTINGS...: a run, in routers/NAME-SEED
trained() {
  local figure=$1 series=$2 at=$3 seed=$4 name=$5 configuration=$6
  shift 6
  job "$figure" "$series" "$at" "$seed" run "routers/$name-$seed" "$program" train "$configuration" \
    --set "output.dir=$out/routers/$name-$seed" --set "train.seed=$seed" "$@"
}

# --- What is run

# A mean of static patterns at each sparsity: drawn, and by the heads' retrieval scores.
drawn() { evaluate static random "$1" "$2" "static/random-$1-$2.json" 512 --set "router.force=random:$1:$2"; }
by_scores() {
  evaluate static scores "$1" 1 "static/scores-$1.json" 512 --set "router.force=scores:$out/heads.json:$1"
}
masks() {  # trained for one sparsity, of all tasks
  trained training l0 "$1" "$2" "l0-$1" $config/static-l0.yaml --set "router.reg.t_sen=$1" \
    --set "router.reg.t_rob=$1"
  evaluate static l0 "$1" "$2" "static/l0-$1-$2.json" 512 --set router.kind=static-l0 \
    --checkpoint "$out/routers/l0-$1-$2"
}
forced() { evaluate static "$1" "$2" 1 "static/$1.json" 512 --set "router.force=$1"; }
elastic() {  # TARGET SEED
  trained training elastic "$1" "$2" "elastic-$1" $config/router.yaml --set "router.reg.t_sen=$1" \
    --set "train.steps=$steps"
  evaluate elastic elastic "$1" "$2" "elastic/$1-$2.json" 512 --checkpoint "$out/routers/elastic-$1-$2"
  [ "$1" != $middle ] || longer_elastic "$2"
}
longer_elastic() {
  local words
  for words in $lengths; do
    evaluate lengths elastic "$words" "$1" "lengths/elastic-$words-$1.json" "$words" \
      --checkpoint "$out/routers/elastic-$middle-$1"
  done
}
longer() { evaluate lengths "$1" "$2" 1 "lengths/$1-$2.json" "$2" --set "router.force=$1"; }
# What the variants differ from: the configuration as it is, judged once for every figure that varies it.
usual() {  # SEED
  trained - elastic usual "$1" usual $config/router.yaml --set "router.reg.t_sen=$middle"
  local figure series at kind
  while IFS=: read -r figure series at; do
    evaluate "$figure" "$series" "$at" "$1" "$figure/usual-$1.json" 512 --checkpoint "$out/routers/usual-$1"
  done <<<"pooling:budget:8
place:place:ctx_q
modes:elastic:fa-ssa
routing:elastic:head, keys
temperature:elastic:exp_fraction
width:elastic:4"
  for kind in $kinds; do
    evaluate unseen seen "$kind" "$1" "unseen/seen-$kind-$1.json" 512 --checkpoint "$out/routers/usual-$1"
  done
}
# all_alike MODE: every head full, and sparse, as the mode has it
all_alike() {
  local series
  for series in full sparse; do
    evaluate modes "$series" "$1" 1 "modes/$series-$1.json" 512 --set "router.force=$series" \
      --set "router.mode=$1" "${blocks[@]}"
  done
}
# variant FIGURE SERIES AT NAME SEED SETTINGS...: a router trained and judged with other settings
variant() {
  local figure=$1 series=$2 at=$3 name=$4 seed=$5
  shift 5
  trained - "$series" "$at" "$seed" "$name" $config/router.yaml --set "router.reg.t_sen=$middle" "$@"
  evaluate "$figure" "$series" "$at" "$seed" "$figure/$name-$seed.json" 512 "$@" \
    --checkpoint "$out/routers/$name-$seed"
}

# Blocks that fit documents of a few hundred words, for XAttention and the best blocks.
blocks=(--set router.xa.block=64 --set router.topk.block=64 --set router.topk.blocks=3)
# unseen KIND SEED: a router of all kinds but one, judged on all.
unseen() {
  local kind rest=""
  for kind in $kinds; do
    [ "$kind" = "$1" ] || rest+="${rest:+, }$kind: 1"
  done
  trained - elastic "$1" "$2" "without-$1" $config/router.yaml --set "router.reg.t_sen=$middle" \
    --set "data.synthetic.kinds={$rest}"
  evaluate unseen elastic "$1" "$2" "unseen/$1-$2.json" 512 --checkpoint "$out/routers/without-$1-$2"
}
# Text of which nothing is asked, and segments that come again: neither is in any router's training.
plain() {
  job unseen elastic noise "$1" eval "unseen/noise-$1.json" "$program" eval $config/router.yaml \
    --checkpoint "$out/routers/elastic-$middle-$1" --set data.format=jsonl --set "data.eval=[$out/noise.jsonl]" \
    --out "$out/unseen/noise-$1.json"
  job unseen elastic repeat "$1" eval "unseen/repeat-$1.json" "$program" eval $config/router.yaml \
    --checkpoint "$out/routers/elastic-$middle-$1" --set 'data.synthetic.kinds={repeat: 1}' \
    --set 'data.synthetic.lengths=[512]' --out "$out/unseen/repeat-$1.json"
}
# rewarded SEED: one model with a router beside its adapters, one without, which also runs with heads drawn at the
# MSR that the router came to.
rewarded() {
  local series msr
  for series in elastic full; do
    local settings=()
    [ $series != elastic ] || settings=(--set 'train.trainable=[reward_head, lora, router]')
    job - $series 512 "$1" run "rewards/$series-$1" "$program" train $config/reward.yaml \
      --set "output.dir=$out/rewards/$series-$1" --set "train.seed=$1" "${settings[@]}"
    judge $series "$1" $series
  done
  msr=$(grep -o '"eval_msr":[0-9.]*' "$out/rewards/elastic-$1/metrics.jsonl" | tail -n 1 | cut -d: -f2)
  judge static "$1" full --set "router.force=random:$msr:$1"
}
judge() {  # SERIES SEED RUN SETTINGS...
  local series=$1 seed=$2 run=$3
  shift 3
  job reward "$series" "" "$seed" reward "reward/$series-$seed" "$program" eval-reward $config/reward.yaml \
    --checkpoint "$out/rewards/$run-$seed" --data "$out/pairs" --no-untrained "$@" --out "$out/reward/$series-$seed"
}
# costs TOKENS: what documents take with all heads full, as the router has it, with all sparse; alone on the
# machine, as it is timed.
costs() {
  local series case
  for series in full elastic sparse; do
    case $series in full) case=0 ;; elastic) case=router ;; sparse) case=1 ;; esac
    # shellcheck disable=SC2086  # the kinds are words
    job cost "$series" "$1" 1 cost "cost/$series-$1.json" "$bench" --model $config/backbone --dtype float32 \
      --router "$out/routers/elastic-$middle-1" --documents $kinds --case "$1:8:$case:32" \
      --cost "$out/cost/$series-$1.json"
  done
}

echo "$mode: into $out, $jobs at a time"
made_by=$(json_text "$("$program" --version | head -n 1)")
if [ ! -e "$out/reproduction.json" ]; then
  {
    printf '{"format": "elastron-reproduction", "version": 1, "mode": "%s", "program": %s,\n' "$mode" "$made_by"
    printf ' "commit": "%s", "machine": %s, "begun": "%s", "backbone": "%s",\n' \
      "$(git rev-parse --short HEAD 2>/dev/null || true)" \
      "$(json_text "$cores x $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)")" \
      "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$config/backbone"
    printf ' "command": %s}\n' "$(json_text "launch/reproduce.sh $mode --out $out")"
  } >"$out/reproduction.json.new"
  mv "$out/reproduction.json.new" "$out/reproduction.json"
elif ! grep -q "\"mode\": \"$mode\"" "$out/reproduction.json"; then
  echo "error: the folder holds another mode's results ($out): give another one with --out" >&2
  exit 2
elif ! grep -qF "\"program\": $made_by," "$out/reproduction.json"; then
  echo "error: another program made what is there ($out/reproduction.json): give another folder with --out" >&2
  exit 2
fi

if [ "$mode" = full ]; then
  mkdir -p "$out/pairs"
  for words in 256 512 1024 2048; do
    [ -e "$out/pairs/words-$words.jsonl" ] || "$program" synthesize --pairs --form benchmark --lexicon coded \
      --length "$words" --records 320 --out "$out/pairs/words-$words.jsonl"
  done
  # The same words for every awk: a generator of Lehmer's.
  awk 'BEGIN {
    x = 7
    for (d = 0; d < 64; ++d) {
      text = ""
      for (w = 0; w < 508; ++w) {
        x = (x * 16807) % 2147483647
        text = text (w ? " " : "") "n" int(x / 65536) % 32
      }
      printf "{\"context\": \"%s\", \"question\": \"the\", \"answer\": \"\", ", text
      print "\"metadata\": {\"task\": \"Single QA\", \"kind\": \"noise\", \"is_prefix\": false}}"
    }
  }' >"$out/noise.jsonl"
fi
# Heads' scores, full and sparse: what everything else is beside.
start job - scores "" 1 heads heads.json "$program" score-heads $config/router.yaml \
  --set 'data.synthetic.kinds={needle: 1, recall: 1, trace: 1}' --set 'data.synthetic.lengths=[512]' --after 1 \
  --set "data.synthetic.eval_per_kind=$documents" --out "$out/heads.json"
start forced full 0
start forced sparse 1
finish

# Chains that train take longest.
for seed in $seeds; do
  for target in $targets; do start elastic "$target" "$seed"; done
done
if [ "$mode" != ci ]; then
  for seed in $seeds; do
    for sparsity in $sparsities; do start masks "$sparsity" "$seed"; done
  done
fi
if [ "$mode" = full ]; then
  for how in fa-ssa fa-xa xa-ssa fa-topk; do start all_alike "$how"; done
  for seed in $seeds; do
    start usual "$seed"
    for budget in 2 4 16 32 100; do
      start variant pooling budget "$budget" "pooling-$budget" "$seed" \
        --set "router.pool_budget=$budget"
    done
    start variant pooling budget mean pooling-mean "$seed" --set router.pool=mean
    for place in first_token ctx q; do
      start variant place place "$place" "place-$place" "$seed" \
        --set "router.pool_segment=$place"
    done
    for how in fa-xa xa-ssa fa-topk; do
      start variant modes elastic "$how" "mode-$how" "$seed" --set "router.mode=$how" "${blocks[@]}"
    done
    start variant routing elastic "head, queries" head-queries "$seed" --set router.input=query
    start variant routing elastic "layer, keys" layer-keys "$seed" --set router.granularity=layer
    start variant routing elastic "layer, queries" layer-queries "$seed" \
      --set router.granularity=layer --set router.input=query
    start variant temperature elastic cosine temperature-cosine "$seed" \
      --set router.tau_schedule=cosine
    start variant temperature elastic learned temperature-learned "$seed" \
      --set router.tau_schedule=learned --set router.tau.init=0.7
    for width in 2 6 8; do
      start variant width elastic "$width" "width-$width" "$seed" \
        --set "router.hidden_mult=$width"
    done
    for kind in $kinds; do start unseen "$kind" "$seed"; done
    start rewarded "$seed"
  done
fi
for sparsity in $sparsities; do
  start by_scores "$sparsity"
  for draw in $draws; do start drawn "$sparsity" "$draw"; done
done
for words in $lengths; do
  start longer full "$words"
  start longer sparse "$words"
done
finish
if [ "$mode" = full ]; then
  for seed in $seeds; do start plain "$seed"; done
  finish
  export OMP_NUM_THREADS=$cores
  for words in $lengths; do costs "$words"; done
fi

"$program" report "$out" --out "$out/report.html" >/dev/null  # claims are said once
"$program" report "$out" --out "$out/results.md"
