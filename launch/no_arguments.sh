# shellcheck shell=bash
# For scripts that take no arguments. no_arguments SCRIPT TEXT ARGUMENTS...: --help and -h print what
# the script does, anything else is an error.
no_arguments() {
  local script=$1 text=$2
  shift 2
  [ $# -gt 0 ] || return 0
  if [ "$1" = --help ] || [ "$1" = -h ]; then
    printf 'usage: %s\n\n%s\n' "$script" "$text"
    exit 0
  fi
  echo "error: unknown argument '$1' (command line): $script takes none; see $script --help" >&2
  exit 2
}
