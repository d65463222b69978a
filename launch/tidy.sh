#!/usr/bin/env bash
# tidy.sh [BASE]: clang-tidy on the C++ sources that differ from the commit BASE, uncommitted ones included.
# See --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case "${1:-}" in
  --help | -h)
    cat <<'TEXT'
usage: launch/tidy.sh [BASE]

Runs clang-tidy on the C++ sources that differ from the commit BASE (default: where this branch left
origin/main or main; on main itself the commit before), uncommitted ones included, and on what their
changed headers say in them. Ends with 1 when it finds something, with 2 when it cannot run.

BUILD_DIR       a configured build folder (default: the first of build, build-cpu, build-sanitize)
TIDY_MOST       of more changed files only so many are looked at, and the line says so (default: all)
TEXT
    exit 0
    ;;
  -*)
    echo "error: unknown option '$1' (command line): see launch/tidy.sh --help" >&2
    exit 2
    ;;
esac

fail() {
  echo "error: $1" >&2
  exit 2
}
command -v clang-tidy >/dev/null || fail "no clang-tidy (PATH): apt-get install clang-tidy"
build=${BUILD_DIR:-}
for candidate in build build-cpu build-sanitize; do
  [ -n "$build" ] || [ ! -f "$candidate/compile_commands.json" ] || build=$candidate
done
[ -f "${build:-.}/compile_commands.json" ] ||
  fail "no compile_commands.json (${build:-build}): configure it first, as in cmake --preset release"

base=${1:-}
if [ -z "$base" ]; then
  for main in origin/main main; do
    [ -n "$base" ] || base=$(git merge-base HEAD "$main" 2>/dev/null || true)
  done
  # On main itself, or where there is none: what the last commit brought.
  if [ -z "$base" ] || [ "$base" = "$(git rev-parse HEAD)" ]; then
    base=$(git rev-parse -q --verify HEAD^ || git hash-object -t tree /dev/null)
  fi
fi
git rev-parse -q --verify "$base^{tree}" >/dev/null || fail "there is no commit '$base' (command line): name one, or none"

# Sources that this build compiles; CUDA's and the emulator's are written for other compilers.
mapfile -t changed < <({ git diff --name-only --diff-filter=d "$base" -- '*.cpp' '*.h'
  git ls-files --others --exclude-standard -- '*.cpp' '*.h'; } | sort -u)
sources=() headers=()
for file in "${changed[@]}"; do
  case $file in
    tests/support/cuda_emulator/include/*) ;;  # the names of the headers that it stands in for
    *.h) headers+=("$file") ;;
    *) ! grep -qF "/$file\"" "$build/compile_commands.json" || sources+=("$file") ;;
  esac
done
most=${TIDY_MOST:-${#sources[@]}}
if [ "${#sources[@]}" -gt "$most" ]; then
  echo "clang-tidy: the first $most of ${#sources[@]} changed sources"
  sources=("${sources[@]:0:$most}")
fi
if [ ${#sources[@]} -eq 0 ]; then
  echo "clang-tidy: no changed sources"
  exit 0
fi
filter='^$'
if [ ${#headers[@]} -gt 0 ]; then
  filter="($(printf '%s\n' "${headers[@]}" | sed 's/[.]/\\./g' | paste -sd'|'))\$"
fi

# It may fail to read what g++ compiles: its own errors are no findings, but there is no "nothing" either.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
printf '%s\0' "${sources[@]}" | xargs -0 -n 1 -P "$(nproc)" clang-tidy -p "$build" --quiet \
  "--header-filter=$filter" --extra-arg=-Wno-unknown-warning-option >"$log" 2>/dev/null || true
if unread=$(grep -F '[clang-diagnostic-error]' "$log" | cut -d: -f1,2 | sort -u) && [ -n "$unread" ]; then
  echo "clang-tidy: cannot read some of it, which $(clang-tidy --version | grep -o 'version [0-9]*' | head -1) does not know:"
  sed 's/^/  /' <<<"$unread"
fi
if grep -E '(error|warning): .*\[[a-z]' "$log" | grep -qvF '[clang-diagnostic-error]'; then
  # What several sources say of one header counts once.
  awk '!seen[$0]++' "$log"
  echo "error: clang-tidy found something in ${#sources[@]} changed sources: see above" >&2
  exit 1
fi
echo "clang-tidy: nothing in ${#sources[@]} changed sources"
