#!/usr/bin/env bash
# completion_test.sh COMPLETION MAN_PAGE: what the program writes about its own arguments works in
# bash, and in man (where there is one; it ends with 77, "skipped", otherwise).
set -uo pipefail
completion=$(realpath "$1")
page=$(realpath "$2")
failures=0
fail() {
  printf 'FAILED: %s\n' "$1" >&2
  failures=$((failures + 1))
}

compopt() { :; }  # wants a completion that a person began
# shellcheck source=/dev/null
source "$completion" || fail "bash cannot read the script"

# completes LINE WORD...: at the end of LINE exactly these are offered; "..." at their end: among others.
completes() {
  local line=$1 more=false missing="" word
  shift
  read -ra COMP_WORDS <<<"${line//=/ = }"
  [[ $line != *" " ]] || COMP_WORDS+=("")
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  COMPREPLY=()
  _elastron
  for word in "$@"; do
    if [ "$word" = ... ]; then
      more=true
    elif ! printf '%s\n' "${COMPREPLY[@]}" | grep -qxF -- "$word"; then
      missing+=" $word"
    fi
  done
  [ -z "$missing" ] || fail "'$line' does not offer$missing, but: ${COMPREPLY[*]}"
  $more || [ "${#COMPREPLY[@]}" -eq $# ] || fail "'$line' offers ${COMPREPLY[*]}"
}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
mkdir runs
touch run.yaml data.jsonl
complete -p elastron elastron-run >/dev/null || fail "not registered"
completes "elastron tr" train
completes "elastron eval" eval eval-reward
completes "elastron --v" --version
completes "elastron-run -np 2 train --dr" --dry-run
completes "elastron-run -" -np --hostfile --restarts ...
completes "elastron train " run.yaml runs
completes "elastron train run.yaml --set router.ssa.si" router.ssa.sink=
completes "elastron train run.yaml --set train.st" train.steps=
completes "elastron train run.yaml --set model.path=ru" run.yaml runs
completes "elastron eval-reward run.yaml --judge " discriminative generative
completes "elastron eval-reward run.yaml --limit "
completes "elastron eval-reward --data data.jsonl d" data.jsonl
completes "elastron train run.yaml --resume r" run.yaml runs
completes "elastron plan --jso" --json

for words in 'SH EXIT STATUS' 'SS "elastron train"' 'B 75' 'fB\-\-set' 'SS "elastron eval'; do
  grep -qF -- "$words" "$page" || fail "the page does not have: $words"
done
[ "$failures" -eq 0 ] || exit 1
command -v man >/dev/null || exit 77
warnings=$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings -l "$page" 2>&1 >/dev/null)
[ -z "$warnings" ] || fail "man says: $warnings"
text=$(LC_ALL=C MANWIDTH=100 man -l "$page" 2>/dev/null)
[[ $text == *'elastron - trains'* ]] || fail "no name in the page"
[ "$failures" -eq 0 ]
