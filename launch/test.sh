#!/usr/bin/env bash
# test.sh [PRESET] [CTEST ARGUMENTS...]: installs what is missing, builds, runs all tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset=release
case "${1:-}" in
  --help | -h)
    cat <<'TEXT'
usage: launch/test.sh [release|sanitize|portable] [CTEST ARGUMENTS...]

installs what is missing, builds, runs all tests, or those that CTest's arguments choose: -R eval
TEXT
    exit 0
    ;;
  release | sanitize | portable) preset=$1; shift ;;
esac
launch/setup.sh
launch/build.sh "$preset"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$(nproc)}"
ctest --preset "$preset" "$@"
