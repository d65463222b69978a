#!/usr/bin/env bash
# first_commands_test.sh SOURCES CASE: what launch/quickstart.sh, test.sh, build.sh and setup.sh run, in a
# folder with blanks in its name, with stand-ins for the packages, CMake, CTest and the program.
set -uo pipefail
sources=$1
case_name=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
log=$folder/log
clone="$folder/a clone"
export CALLS=$folder/calls STAND_INS="$folder/stand ins"
unset_home=()
unset XDG_CACHE_HOME CCACHE_DIR CCACHE_DISABLE
failures=0
: >"$CALLS"

fail() {
  printf 'FAILED: %s\n' "$1" >&2
  sed 's/^/  | /' "$log" >&2
  sed 's/^/  > /' "$CALLS" >&2
  failures=$((failures + 1))
}
expect_code() { [ "$code" -eq "$1" ] || fail "exit code $code, not $1"; }
expect_line() { grep -Eq -- "$1" "$log" || fail "no line matches: $1"; }
expect_no_line() { ! grep -Eq -- "$1" "$log" || fail "a line matches: $1"; }
expect_call() { grep -Eq -- "$1" "$CALLS" || fail "nothing ran: $1"; }
expect_no_call() { ! grep -Eq -- "$1" "$CALLS" || fail "it ran: $1"; }

# stand_in NAME: a command whose script is read from standard input.
stand_in() {
  { echo '#!/usr/bin/env bash'; cat; } >"$STAND_INS/$1"
  chmod +x "$STAND_INS/$1"
}
mkdir -p "$STAND_INS" "$clone"
# The machine's own sudo, apt and CMake are out of reach.
for tool in awk bash cat cp dirname env grep mkdir mktemp nproc rm sed; do
  ln -s "$(command -v "$tool")" "$STAND_INS/$tool"
done
stand_in dpkg-query <<<'case " ${MISSING:-} " in *" ${!#} "*) exit 1 ;; esac; echo install ok installed'
stand_in id <<<'echo "${USER_ID:-0}"'
stand_in apt-get <<'E2'
echo "apt-get $*" >>"$CALLS"
echo "words of apt"
case "$*" in *install*) exit "${APT_CODE:-0}" ;; esac
E2
stand_in ctest <<<'echo "ctest $*" >>"$CALLS"'
stand_in cmake <<'E2'
echo "cmake $*" >>"$CALLS"
echo "CCACHE_DISABLE=${CCACHE_DISABLE:-}" >>"$CALLS"
case "$*" in
  *--build*)
    for ((i = 1; i <= 40; ++i)); do echo "[$i/40] $i.5 s: Building CXX object x.cpp.o"; done
    [ "${BUILD_CODE:-0}" -eq 0 ] || echo "x.cpp:1:1: error: words of the compiler"
    exit "${BUILD_CODE:-0}"
    ;;
  *)
    echo "words of CMake"
    exit "${CONFIGURE_CODE:-0}"
    ;;
esac
E2
cp -r "$sources/launch" "$clone/launch"
cat >"$clone/launch/elastron-run" <<'E2'
#!/usr/bin/env bash
echo "elastron-run $*" >>"$CALLS"
mkdir -p runs/tiny-router/checkpoints
echo step-00000150.h5 >runs/tiny-router/checkpoints/latest
E2
# What setup fetches where there is CUDA is there already.
mkdir -p "$clone/.deps/cudnn-frontend"
sed -n 's/^frontend=//p' "$clone/launch/setup.sh" >"$clone/.deps/cudnn-frontend/version"

# run [NAME=VALUE...] SCRIPT [ARGUMENTS...]: from elsewhere; sets `code`.
run() {
  (cd / && export HOME=$folder && env "${unset_home[@]}" PATH="$STAND_INS" "$@") >"$log" 2>&1
  code=$?
}

case $case_name in
  quickstart)
    run "$clone/launch/quickstart.sh"
    expect_code 0
    # The program, not its tests.
    expect_call '^cmake --build --preset release -j [0-9]+ --target elastron$'
    expect_call '^elastron-run -np 2 train configs/tiny/router.yaml( --resume none)?$'
    expect_call '^elastron-run -np 2 eval configs/tiny/router.yaml --checkpoint runs/tiny-router --compare'
    expect_line '^checkpoint +runs/tiny-router/checkpoints/step-00000150.h5$'
    expect_line '^time +install [0-9]+ s, build [0-9]+ s, train [0-9]+ s, eval [0-9]+ s, in all [0-9]+ s$'
    expect_no_call apt-get
    expect_line '^built 40 of 40 \(40 s\)$'
    expect_no_line 'Building|words of CMake'
    [ "$(grep -c '^built' "$log")" -eq 10 ] || fail 'the progress is not ten lines'
    ;;
  arguments)  # never taken for "go"
    for script in quickstart setup test; do
      for flag in --help -h; do
        run "$clone/launch/$script.sh" "$flag"
        expect_code 0
        expect_line "^usage: launch/$script.sh"
      done
    done
    for script in quickstart setup; do
      run "$clone/launch/$script.sh" --dry-run
      expect_code 2
      expect_line "^error: unknown argument '--dry-run' \(command line\): launch/$script.sh takes none; see "
      [ "$(wc -l <"$log")" -eq 1 ] || fail "more than one line"
    done
    expect_no_call '.'
    ;;
  tests)
    run "$clone/launch/test.sh" sanitize -R layering
    expect_code 0
    expect_call '^cmake --build --preset sanitize -j [0-9]+$'
    expect_call '^ctest --preset sanitize -R layering$'
    ;;
  failing_build)
    run BUILD_CODE=1 "$clone/launch/quickstart.sh"
    expect_code 2
    expect_line '^x.cpp:1:1: error: words of the compiler$'
    expect_line '^error: the build failed \(preset release\): see above$'
    expect_no_call elastron-run
    run CONFIGURE_CODE=1 "$clone/launch/build.sh"
    expect_code 2
    expect_line '^words of CMake$'
    expect_line '^error: the build could not be configured \(preset release\): '
    ;;
  no_home)
    # A file in its place: root may write to every folder.
    : >"$folder/file"
    run HOME="$folder/file" "$clone/launch/build.sh"
    expect_code 0
    expect_call '^CCACHE_DISABLE=1$'
    : >"$CALLS"
    unset_home=(-u HOME)
    run "$clone/launch/build.sh" release elastron
    unset_home=()
    expect_code 0
    expect_call '^CCACHE_DISABLE=1$'
    : >"$CALLS"
    run "$clone/launch/build.sh"
    expect_call '^CCACHE_DISABLE=$'
    ;;
  packages)
    run MISSING='cmake libfmt-dev' "$clone/launch/setup.sh"
    expect_code 0
    expect_line '^installing: cmake libfmt-dev$'
    expect_call '^apt-get .*update$'
    expect_call '^apt-get .*install -y --no-install-recommends cmake libfmt-dev$'
    expect_no_line 'words of apt'
    run MISSING=cmake APT_CODE=100 "$clone/launch/quickstart.sh"
    expect_code 2
    expect_line '^words of apt$'
    expect_line '^error: packages could not be installed \(apt-get\): '
    expect_no_call '^cmake'
    : >"$CALLS"
    run MISSING=cmake USER_ID=1000 "$clone/launch/quickstart.sh"
    expect_code 2
    expect_line '^error: packages are missing \(cmake\): run launch/setup.sh as root once, or install sudo$'
    expect_no_call '.'
    run USER_ID=1000 "$clone/launch/setup.sh"
    expect_code 0
    ;;
  *) fail "there is no case $case_name" ;;
esac
exit "$((failures > 0))"
