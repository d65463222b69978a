#!/usr/bin/env bash
# run.sh [SECONDS] [TARGETS...]: builds the fuzz targets with clang and libFuzzer (Debian: clang,
# libclang-rt-14-dev, libomp-14-dev) and runs each for so long (default 60), as many at once as there
# are cores. What they learn is kept in build-fuzz/corpus, what they find in tests/fuzz/crashers:
# commit it, with the fix. Ends with 1 when anything was found.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
seconds=${1:-60}
shift || true
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  targets=(safetensors tokenizer model_config jsonl router_settings router_tensors adapter_settings
    preference_rows)
fi
build=${ELASTRON_FUZZ_BUILD:-build-fuzz}

cmake --preset fuzz -B "$build" >/dev/null
cmake --build "$build" -- "${targets[@]/#/fuzz_}"

# One target, to its end.
fuzz() {
  local target=$1 log="$build/$1.log"
  mkdir -p "$build/corpus/$target" "tests/fuzz/crashers/$target"
  ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1 \
    "$build/tests/fuzz/fuzz_$target" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 \
    -max_len=16384 -print_final_stats=1 -artifact_prefix="tests/fuzz/crashers/$target/" \
    "$build/corpus/$target" "tests/fuzz/seeds/$target" >"$log" 2>&1 || {
    echo "error: $target found something ($log): see tests/fuzz/crashers/$target" >&2
    return 1
  }
  echo "$target: $(grep -E 'DONE' "$log" | tail -1)"
}
export -f fuzz
export build seconds
status=0
printf '%s\n' "${targets[@]}" \
  | xargs -P "${JOBS:-$(nproc)}" -I{} bash -c 'fuzz "$1"' fuzz {} || status=1
find tests/fuzz/crashers -type d -empty -delete
exit $status
