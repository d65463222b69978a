#!/usr/bin/env bash
# build.sh [PRESET]: configures and builds a preset of CMakePresets.json (default: release).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset=${1:-release}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! cmake --preset "$preset" >"$log" 2>&1; then
  cat "$log" >&2
  exit 2
fi
cmake --build --preset "$preset" -j "$(nproc)"
