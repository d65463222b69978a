#!/usr/bin/env bash
# install_test.sh CMAKE BUILD_FOLDER: what cmake --install puts together works away from the sources: the
# program finds its own configurations, and the wrapper the program.
set -uo pipefail
cmake=$1
build=$2
failures=0
fail() {
  printf 'FAILED: %s\n' "$1" >&2
  sed 's/^/  | /' "$log" >&2
  failures=$((failures + 1))
}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
log=$folder/log
prefix=$folder/some/where
"$cmake" --install "$build" --prefix "$prefix" >"$log" 2>&1 || fail "it cannot be installed"
for file in bin/elastron bin/elastron-run share/man/man1/elastron.1 share/elastron/configs/tiny/router.yaml \
  share/bash-completion/completions/elastron-run share/doc/elastron/copyright share/doc/elastron/docs/method.md; do
  [ -s "$prefix/$file" ] || fail "there is no $file"
done

mkdir "$folder/there" && cd "$folder/there" || exit 1
"$prefix/bin/elastron" plan configs/qwen3-8b.yaml --device h200 --ranks 8 >"$log" 2>&1 || fail "no plan"
grep -qF "shapes of $prefix/share/elastron/configs/models/Qwen3-8B" "$log" || fail "the shapes are of another place"
"$prefix/bin/elastron-run" train configs/tiny/router.yaml --dump-config >"$log" 2>&1 || fail "no configuration"
grep -qF "path: $prefix/share/elastron/configs/tiny/backbone" "$log" || fail "the backbone is of another place"
# What is there goes first, and what ships nowhere is an error.
mkdir configs && echo "train: {steps: 7}" >configs/qwen3-8b.yaml
"$prefix/bin/elastron" train configs/qwen3-8b.yaml --set model.path=. --dump-config >"$log" 2>&1
grep -qE "^  steps: 7\b" "$log" || fail "a file in the working folder is passed over"
"$prefix/bin/elastron" plan configs/none.yaml >"$log" 2>&1
[ $? -eq 2 ] || fail "not the exit code 2"
grep -q '^error: .*configs/none.yaml' "$log" || fail "the missing file is not named as it was given"
[ "$failures" -eq 0 ]
