#!/usr/bin/env bash
# build.sh [PRESET] [TARGET...]: configures and builds a preset of CMakePresets.json (default: release),
# all of it or only the targets named, such as elastron, the program. On a terminal the progress is one
# live line; elsewhere a line at each tenth.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset=${1:-release}
shift $(($# > 0 ? 1 : 0))
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# The compiler cache wants a folder that it can write to, and the build ends where it finds none.
cache=${CCACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/nonexistent}}}
mkdir -p "$cache" 2>/dev/null || true
[ -w "$cache" ] || export CCACHE_DISABLE=1

if ! cmake --preset "$preset" >"$log" 2>&1; then
  cat "$log" >&2
  echo "error: the build could not be configured (preset $preset): see above; launch/setup.sh installs" \
    "what is missing" >&2
  exit 2
fi

# A compiler may take a GiB: a machine with many cores and little memory runs fewer of them.
jobs=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)
memory=$(awk '/^MemAvailable:/ { print int($2 / 1048576) }' /proc/meminfo 2>/dev/null || true)
[ -z "$memory" ] || [ "$memory" -ge "$jobs" ] || jobs=$((memory > 1 ? memory : 1))
command=(cmake --build --preset "$preset" -j "$jobs")
[ $# -eq 0 ] || command+=(--target "$@")

build() {
  if [ -t 1 ]; then
    NINJA_STATUS='building %f of %t, %e s: ' "${command[@]}"
  else
    # What is no progress is a compiler's message.
    NINJA_STATUS='[%f/%t] %e s: ' "${command[@]}" 2>&1 | awk '
      match($0, /^\[[0-9]+\/[0-9]+\] /) {
        split(substr($0, 2, RLENGTH - 3), n, "/")
        tenth = int(10 * n[1] / n[2])
        if (tenth > shown) { printf "built %d of %d (%d s)\n", n[1], n[2], substr($0, RLENGTH + 1); fflush() }
        shown = tenth
        next
      }
      /^ninja: / { next }
      { print; fflush() }'
  fi
}
if ! build; then
  echo "error: the build failed (preset $preset): see above" >&2
  exit 2
fi
