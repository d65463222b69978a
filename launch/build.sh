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
cache=${CCACHE_DIR:-${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}}
if [ -z "$cache" ] || ! mkdir -p "$cache" 2>/dev/null || [ ! -w "$cache" ]; then
  export CCACHE_DISABLE=1
fi

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

# A line at each tenth; what is no progress is a compiler's or ninja's message.
show_tenths() {
  local line shown=0 tenth
  while IFS= read -r line || [ -n "$line" ]; do
    if [[ $line =~ ^\[([0-9]+)/([0-9]+)\]\ ([0-9]+) ]]; then
      tenth=$((10 * BASH_REMATCH[1] / BASH_REMATCH[2]))
      [ "$tenth" -le "$shown" ] \
        || echo "built ${BASH_REMATCH[1]} of ${BASH_REMATCH[2]} (${BASH_REMATCH[3]} s)"
      shown=$tenth
    elif [[ ! $line =~ ^ninja:\ (Entering|no\ work) ]]; then
      printf '%s\n' "$line"
    fi
  done
}

build() {
  if [ -t 1 ]; then
    NINJA_STATUS='building %f of %t, %e s: ' "${command[@]}"
  else
    NINJA_STATUS='[%f/%t] %e s: ' "${command[@]}" 2>&1 | show_tenths
  fi
}
if ! build; then
  echo "error: the build failed (preset $preset): see above" >&2
  exit 2
fi
