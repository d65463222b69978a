#!/usr/bin/env bash
# test.sh [PRESET] [CTEST ARGUMENTS...]: installs what is missing, builds, runs all tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset=release
case "${1:-}" in
  release | sanitize | portable) preset=$1; shift ;;
esac
launch/setup.sh
launch/build.sh "$preset"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$(nproc)}"
ctest --preset "$preset" "$@"
