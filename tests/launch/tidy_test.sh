#!/usr/bin/env bash
# tidy_test.sh SOURCES: launch/tidy.sh looks at what changed and at nothing else; with a stand-in for
# clang-tidy.
set -uo pipefail
sources=$1
failures=0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export CALLS=$folder/calls GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b
export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
fail() {
  printf 'FAILED: %s\n' "$1" >&2
  sed 's/^/  | /' "$folder/log" "$CALLS" >&2
  failures=$((failures + 1))
}
# tidy CODE [ARGUMENTS...]: runs it, and expects the exit code.
tidy() {
  local wanted=$1 code=0
  shift
  : >"$CALLS"
  PATH="$folder/bin:$PATH" "$folder/clone/launch/tidy.sh" "$@" >"$folder/log" 2>&1 || code=$?
  [ "$code" -eq "$wanted" ] || fail "exit code $code, not $wanted"
}
looked_at() { grep -qE -- " $1\$" "$CALLS"; }

mkdir -p "$folder/bin" "$folder/clone/launch" "$folder/clone/build" "$folder/clone/core"
cat >"$folder/bin/clang-tidy" <<'E2'
#!/usr/bin/env bash
echo "clang-tidy $*" >>"$CALLS"
! grep -q FAULT "${!#}" || { echo "${!#}:1:1: error: a fault [bugprone-x,-warnings-as-errors]"; exit 1; }
! grep -q UNREAD "${!#}" || { echo "/lib/y.h:7:1: error: no match [clang-diagnostic-error]"; exit 1; }
E2
chmod +x "$folder/bin/clang-tidy"
cp "$sources/launch/tidy.sh" "$folder/clone/launch/"
cd "$folder/clone" || exit 1
touch core/a.cpp core/b.cpp core/b.h core/kernel.cpp
echo '[{"file": "/x/core/a.cpp"}, {"file": "/x/core/b.cpp"}, {"file": "/x/core/new.cpp"}]' >build/compile_commands.json
git init -q -b main . && git add core launch && git commit -qm one
echo x >>core/b.cpp && echo x >>core/kernel.cpp && git commit -qam two
tidy 0
looked_at core/b.cpp || fail "the last commit's source is passed over"
! looked_at core/a.cpp || fail "a source that did not change is looked at"
! looked_at core/kernel.cpp || fail "a source that this build does not compile is looked at"

git checkout -qb branch && echo x >>core/a.cpp && git commit -qam three
echo x >core/new.cpp && echo x >>core/b.h
tidy 0
looked_at core/a.cpp && looked_at core/new.cpp || fail "the branch's or uncommitted sources are passed over"
! looked_at core/b.cpp || fail "main's source is looked at"
grep -qF -- '--header-filter=(core/b\.h)$' "$CALLS" || fail "the changed header is no part of it"
tidy 0 main^
looked_at core/b.cpp || fail "the commit that was named is not the base"
TIDY_MOST=1 tidy 0 main^
[ "$(wc -l <"$CALLS")" -eq 1 ] || fail "more than TIDY_MOST sources"
grep -q 'the first 1 of 3 changed sources' "$folder/log" || fail "that some were left out is not said"

echo FAULT >>core/a.cpp
tidy 1
grep -q '^core/a.cpp:1:1: error: a fault' "$folder/log" || fail "the fault is not shown"
echo UNREAD >core/a.cpp
tidy 0
grep -q '^  /lib/y.h:7$' "$folder/log" || fail "that some could not be read is not said"
tidy 2 no-such-commit
grep -q "^error: there is no commit 'no-such-commit'" "$folder/log" || fail "no line on the commit"
rm -r build
tidy 2
grep -q '^error: no compile_commands.json' "$folder/log" || fail "no line on the build folder"
[ "$failures" -eq 0 ]
