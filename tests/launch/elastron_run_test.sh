#!/usr/bin/env bash
# elastron_run_test.sh ELASTRON_RUN PROBE CASE: one case of the launch wrapper's contract: signals
# become a saved checkpoint and exit code 75, lost ranks become 6 and are restarted, other exit codes
# come through, nothing is left running.
set -uo pipefail
elastron_run=$1
export ELASTRON_BIN=$2 ELASTRON_RESTART_SECONDS=0
case_name=$3
folder=$(mktemp -d)
log=$folder/log
failures=0
trap 'rm -rf "$folder"' EXIT
for name in $(compgen -v | grep -E '^(OMP_|OMPI_|SLURM_)'); do unset "$name"; done
# Open MPI itself leaks at exit; a segmentation fault is to end the probe as it would elastron.
export LSAN_OPTIONS=detect_leaks=0 ASAN_OPTIONS=detect_leaks=0:handle_segv=0:handle_abort=0

fail() {
  printf 'FAILED: %s\n' "$1" >&2
  sed 's/^/  | /' "$log" >&2
  failures=$((failures + 1))
}

expect_code() { [ "$2" -eq "$1" ] || fail "$3: exit code $2, not $1"; }
expect_line() { grep -Eq -- "$1" "$log" || fail "no line matches: $1"; }
expect_no_line() { ! grep -Eq -- "$1" "$log" || fail "a line matches: $1"; }
# Nobody but init may be left to collect a rank's exit code: a zombie runs no more.
is_running() { [[ $(ps -o stat= -p "$1") =~ ^[^Z] ]]; }
expect_dead() {
  local file tries=0
  for file in "$folder"/ready.*; do
    while is_running "$(cat "$file")" && [ "$tries" -lt 20 ]; do
      tries=$((tries + 1))
      sleep 0.1
    done
    ! is_running "$(cat "$file")" || fail "rank ${file##*.} is still running"
  done
}

# start RANKS ARGUMENTS...: the probe; sets `wrapper`.
start() {
  ranks=$1
  shift
  rm -f "$folder"/ready.* "$folder"/saved.*
  # In a process group of its own, as from a terminal; the shell has background commands ignore INT.
  setsid env --default-signal=INT "$elastron_run" -np "$ranks" "$@" >"$log" 2>&1 &
  wrapper=$!
}
# Ranks that run until they are stopped, then save for so many seconds.
start_loop() { start "$1" loop "$folder" "$2"; }
# The processes of a job, from a process on: it, its children, theirs...
family() {
  echo "$1"
  local child
  for child in $(ps -o pid= --ppid "$1"); do family "$child"; done
}
# kill_family SIGNAL PROCESS
kill_family() {
  local all
  mapfile -t all < <(family "$2")
  kill -"$1" "${all[@]}"
}
# Nothing whose command line names the folder is left, but this script.
expect_gone() {
  local tries=0
  while pgrep -f -- "$folder" | grep -qvx $$ && [ "$tries" -lt 200 ]; do
    tries=$((tries + 1))
    sleep 0.1
  done
  local left
  mapfile -t left < <(pgrep -f -- "$folder" | grep -vx $$)
  [ "${#left[@]}" -gt 0 ] || return
  fail "$1: still running: $(ps -o args= -p "${left[*]}")"
  kill -KILL "${left[@]}"
}
wait_until_ready() {
  local tries=0
  while [ "$(cat "$folder"/ready.* 2>/dev/null | wc -l)" -lt "$ranks" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 600 ] || ! kill -0 "$wrapper" 2>/dev/null; then
      fail "the ranks did not start"
      exit 1
    fi
    sleep 0.1
  done
}
expect_saved() {
  [ "$(cat "$folder"/saved.* 2>/dev/null | grep -c whole)" -eq "$ranks" ] ||
    fail "$1: not every rank saved"
}

case $case_name in
  signals)  # a save longer than the 2 s that mpirun gives ranks after a TERM
    for signal in TERM INT HUP USR1; do
      for n in 1 3; do
        start_loop "$n" 3
        wait_until_ready
        kill -"$signal" "$wrapper"
        wait "$wrapper"
        expect_code 75 $? "$signal to elastron-run, $n ranks"
        expect_saved "$signal, $n ranks"
        expect_dead
        expect_no_line 'non-zero|^---'
        expect_line '^elastron-run: asking the ranks to stop \(train and eval-reward save first\)'
      done
    done
    ;;
  signal_to_a_rank)
    start_loop 2 1
    wait_until_ready
    kill -TERM "$(cat "$folder/ready.1")"
    wait "$wrapper"
    expect_code 75 $? "TERM to a rank"
    expect_saved "TERM to a rank"
    ;;
  signal_to_mpirun)  # alone: not its business, and no rank is killed
    start_loop 2 1
    wait_until_ready
    for signal in TERM INT HUP; do
      kill -"$signal" "$(ps -o ppid= -p "$(cat "$folder/ready.0")")"
    done
    sleep 3
    is_running "$wrapper" || fail "mpirun took a signal"
    kill -TERM "$wrapper"
    wait "$wrapper"
    expect_code 75 $? "TERM after signals to mpirun"
    expect_saved "signals to mpirun"
    ;;
  early_signals)  # while mpirun and the ranks are starting: never lost, never an error
    for delay in 0.05 0.1 0.15 0.2 0.3 0.4 0.6 0.8; do
      for whom in wrapper all; do
        start_loop 2 0
        sleep "$delay"
        if [ "$whom" = all ]; then kill_family TERM "$wrapper"; else kill -TERM "$wrapper"; fi
        wait "$wrapper"
        code=$?
        if [ "$code" -ne 75 ] && [ "$code" -ne 143 ]; then
          fail "TERM to $whom after $delay s: exit code $code"
        fi
        # 143: the shell itself was still starting.
        if [ "$code" -eq 143 ] && [ -s "$log" ]; then fail "TERM after $delay s killed the wrapper"; fi
      done
    done
    ;;
  all_processes)  # what service managers and some schedulers do
    for signal in TERM INT HUP; do
      for n in 1 3; do
        start_loop "$n" 3
        wait_until_ready
        kill_family "$signal" "$wrapper"
        wait "$wrapper"
        expect_code 75 $? "$signal to all processes, $n ranks"
        expect_saved "$signal to all processes, $n ranks"
        expect_dead
        expect_no_line 'non-zero|^---'
      done
    done
    ;;
  two_at_once)  # a service manager's TERM and HUP, a terminal's HUP and the shell's
    for n in 1 2; do
      start_loop "$n" 3
      wait_until_ready
      kill -TERM "$wrapper"
      sleep 0.3
      kill -HUP "$wrapper"
      wait "$wrapper"
      expect_code 75 $? "TERM and HUP, $n ranks"
      expect_saved "TERM and HUP, $n ranks"
    done
    ;;
  nothing_to_save)  # a command that does not ask for requests ends at once
    for n in 1 2; do
      for signal in TERM INT HUP USR1; do
        start "$n" idle "$folder"
        wait_until_ready
        kill -"$signal" "$wrapper"
        wait "$wrapper"
        expect_code 75 $? "$signal, $n ranks"
        expect_dead
        expect_no_line '^---'
      done
    done
    ;;
  killed_early)  # the wrapper, while mpirun and the ranks are starting: they end, too
    for n in 1 2; do
      for delay in 0 0.05 0.1 0.15 0.2 0.25 0.3 0.35 0.4 0.45 0.5; do
        start_loop "$n" 0
        sleep "$delay"
        kill -KILL "$wrapper"
        wait "$wrapper" 2>/dev/null
        expect_gone "elastron-run killed after $delay s, $n ranks"
      done
    done
    ;;
  launcher_killed)  # ranks do not outlive mpirun
    start_loop 2 60
    wait_until_ready
    kill -KILL "$(ps -o ppid= -p "$(cat "$folder/ready.0")")"
    wait "$wrapper"
    expect_code 6 $? "kill -9 of mpirun"
    expect_gone "mpirun killed"
    ;;
  second_signal)
    for n in 1 2; do
      start_loop "$n" 60
      wait_until_ready
      kill -TERM "$wrapper"
      sleep 2.5
      SECONDS=0
      kill -TERM "$wrapper"
      wait "$wrapper"
      expect_code 6 $? "second TERM, $n ranks"
      [ "$SECONDS" -le 10 ] || fail "a second TERM took $SECONDS s, $n ranks"
      expect_dead
      expect_no_line '^---'
    done
    # One rank is stopped, or all are: they hear of no request.
    for stopped in 'ready.1' 'ready.*'; do
      start_loop 2 60
      wait_until_ready
      # shellcheck disable=SC2086  # a pattern
      kill -STOP $(cat "$folder"/$stopped)
      kill -TERM "$wrapper"
      sleep 2.5
      kill -TERM "$wrapper"
      wait "$wrapper"
      expect_code 6 $? "second TERM, $stopped stopped"
      expect_dead
    done
    ;;
  terminal_int)  # the terminal sends INT to the whole foreground process group
    start_loop 2 3
    wait_until_ready
    kill -INT -- "-$wrapper"
    wait "$wrapper"
    expect_code 75 $? "INT to the process group"
    expect_saved "INT to the process group"
    ;;
  wrapper_killed)  # nothing goes on behind its back
    start_loop 2 0
    wait_until_ready
    kill -KILL "$wrapper"
    wait "$wrapper" 2>/dev/null
    for _ in {1..100}; do
      [ "$(cat "$folder"/saved.* 2>/dev/null | wc -l)" -lt 2 ] || break
      sleep 0.1
    done
    expect_saved "elastron-run killed"
    sleep 1
    expect_dead
    ;;
  lost_rank)
    start_loop 3 0
    wait_until_ready
    SECONDS=0
    kill -KILL "$(cat "$folder/ready.1")"
    wait "$wrapper"
    expect_code 6 $? "kill -9 of a rank"
    [ "$SECONDS" -le 10 ] || fail "the loss of a rank took $SECONDS s to notice"
    expect_line '^elastron-run: rank 1 was ended by signal 9 \(Killed\)$'
    expect_line '^elastron-run: a rank or mpirun was killed \(signal 9\): exit code 6$'
    expect_no_line '^---'
    expect_dead
    # What mpirun sends to the others is no request of the user's.
    start 3 idle "$folder"
    wait_until_ready
    kill -KILL "$(cat "$folder/ready.1")"
    wait "$wrapper"
    expect_code 6 $? "kill -9 of a rank with nothing to save"
    for signal in 6 9 11; do
      for n in 1 2; do
        "$elastron_run" -np "$n" kill "$signal" >"$log" 2>&1
        expect_code 6 $? "signal $signal, $n ranks"
      done
    done
    ;;
  exit_codes)
    for code in 2 3 4 5 6; do
      for n in 1 2; do
        "$elastron_run" -np "$n" exit "$code" >"$log" 2>&1
        expect_code "$code" $? "MPI_Abort($code), $n ranks"
        expect_no_line '^---|MPI_ABORT'
      done
    done
    for code in 0 2 75; do
      for n in 1 2; do
        "$elastron_run" -np "$n" lone "$code" >"$log" 2>&1
        expect_code "$code" $? "all ranks end with $code, $n ranks"
      done
    done
    ;;
  restarts)
    runs=$folder/runs
    # Two losses, then it ends well; the same arguments each time, as starts of one job.
    "$elastron_run" -np 2 --restarts 3 train "$runs" 2 --resume none --set a.b=c >"$log" 2>&1
    expect_code 0 $? "two losses, three restarts"
    job=$(sed -n '1s/.* --job \([^ ]*\) $/\1/p' "$runs")
    [ -n "$job" ] || fail "no --job in: $(head -1 "$runs")"
    for _ in 1 2 3; do echo "train $runs 2 --resume none --set a.b=c --job $job "; done |
      diff - "$runs" >&2 || fail "wrong arguments"
    expect_line '^elastron-run: lost a rank: restart 2 of 3 in 0 s'
    # More losses than restarts.
    rm "$runs"
    "$elastron_run" -np 2 --restarts 1 train "$runs" 9 --resume=none >"$log" 2>&1
    expect_code 6 $? "more losses than restarts"
    [ "$(wc -l <"$runs")" -eq 2 ] || fail "started $(wc -l <"$runs") times, not 2"
    # One rank, without mpirun. Another job is another one; the user may name it.
    rm "$runs"
    "$elastron_run" --restarts 1 train "$runs" 1 >"$log" 2>&1
    expect_code 0 $? "one rank"
    ! grep -qF -- "$job" "$runs" || fail "two jobs have one name"
    rm "$runs"
    "$elastron_run" --restarts 1 train "$runs" 1 --job mine >"$log" 2>&1
    expect_code 0 $? "a job of the user's"
    printf '%s\n' "train $runs 1 --job mine " "train $runs 1 --job mine " | diff - "$runs" >&2 ||
      fail "wrong arguments"
    # Never on any other code.
    for code in 2 3 4 5; do
      "$elastron_run" -np 2 --restarts 3 exit "$code" >"$log" 2>&1
      expect_code "$code" $? "no restart"
      expect_no_line 'restart [0-9]+ of'
    done
    # A stop during the pause is a stop.
    rm "$runs"
    ELASTRON_RESTART_SECONDS=60 "$elastron_run" --restarts 1 train "$runs" 9 >"$log" 2>&1 &
    wrapper=$!
    for _ in {1..100}; do
      if grep -q 'restart 1 of 1' "$log"; then break; fi
      sleep 0.1
    done
    kill -TERM "$wrapper"
    wait "$wrapper"
    expect_code 75 $? "TERM between two runs"
    ;;
  flags)
    cores=$(nproc)
    "$elastron_run" -np 2 threads >"$folder/out" 2>"$log"
    expect_code 0 $? "two ranks"
    [ "$(cat "$folder/out")" = "$((cores > 2 ? cores / 2 : 1))" ] || fail "threads per rank: $(cat "$folder/out")"
    [ "$(wc -l <"$log")" -eq 1 ] || fail "more than one line"
    expect_line "^elastron-run: 2 ranks x [0-9]+ threads? on $cores cores? \(mpirun -np 2 --bind-to none"
    "$elastron_run" threads >"$folder/out" 2>"$log"
    [ "$(cat "$folder/out")" = "$cores" ] || fail "one rank has $(cat "$folder/out") threads"
    expect_line '\(no mpirun\)$'
    OMP_NUM_THREADS=7 "$elastron_run" -n 2 threads >"$folder/out" 2>"$log"
    [ "$(cat "$folder/out")" = 7 ] || fail "OMP_NUM_THREADS of the user is not kept"
    "$elastron_run" -np $((cores + 1)) threads >"$folder/out" 2>"$log"
    expect_code 0 $? "more ranks than cores"
    expect_line '--oversubscribe.*waiting ranks yield'
    for n in 1 2; do
      [ "$(printf 'some\ntext\n' | "$elastron_run" -np "$n" echo 2>"$log")" = $'some\ntext' ] ||
        fail "standard input does not reach rank 0 of $n"
    done
    ;;
  remarks)  # of mpirun: one line each, and none that says nothing new
    echo "localhost slots=1" >"$folder/hosts"
    "$elastron_run" -np 2 --hostfile "$folder/hosts" threads >"$log" 2>&1
    expect_code 2 $? "too few slots"
    expect_line "^error: not enough places for 2 ranks \($folder/hosts\): lower -np"
    [ "$(wc -l <"$log")" -eq 2 ] || fail "more than the error and how it was started"
    cat >"$folder/mpirun" <<'MPIRUN'
#!/usr/bin/env bash
rule=$(printf -- '-%.0s' {1..74})
{
  printf '%s\n' "$rule" "Something" "" "  that is new." "$rule"
  echo '[host:1] 3 more processes have sent help message help-mpi.txt / x'
  echo '[host:1] [[2,0],0] ORTE_ERROR_LOG: Out of resource in file ../../../orte/util/show_help.c at line 501'
  echo '[host:1] [[2,0],0] ORTE_ERROR_LOG: Data unpack would read past end of buffer in file util/show_help.c at line 501'
  echo '[host:1] Set MCA parameter "orte_base_help_aggregate" to 0 to see all'
} >&2
exit 7
MPIRUN
    chmod +x "$folder/mpirun"
    PATH=$folder:$PATH "$elastron_run" -np 2 threads >"$log" 2>&1
    expect_code 6 $? "an unknown end of mpirun"
    expect_line '^elastron-run: Open MPI says: Something that is new\.$'
    expect_line '^elastron-run: it ended with exit code 7, which is none'
    [ "$(wc -l <"$log")" -eq 3 ] || fail "more lines than those"
    ;;
  bad_arguments)
    # refused "LINE" ARGUMENTS...
    refused() {
      local line=$1
      shift
      "$elastron_run" "$@" >"$folder/out" 2>"$log"
      expect_code 2 $? "$*"
      [ "$(cat "$log")" = "error: $line" ] || fail "not the line: $line"
    }
    refused "no subcommand (command line): see elastron-run --help"
    refused "-np needs a number (command line): see elastron-run --help" -np
    refused "-np is 'two' (command line): give a whole number" -np two train
    refused "-np is '-1' (command line): give a whole number" -np -1 train
    refused "-np is 0 (command line): give a number of at least 1" -np 0 train
    refused "--restarts is '' (command line): give a whole number" --restarts "" train
    refused "unknown option '--ranks' (command line): see elastron-run --help" --ranks 2 train
    refused "--hostfile needs a file (command line): see elastron-run --help" --hostfile
    refused "the list of machines cannot be read (/nowhere/hosts): check the path and its permissions" \
      -np 2 --hostfile /nowhere/hosts train
    echo "# none yet" >"$folder/hosts"
    refused "no machines in the list ($folder/hosts): write one a line, as in 'node1 slots=8'" \
      -np 2 --hostfile "$folder/hosts" train
    ELASTRON_BIN=/nowhere/elastron refused \
      "no program to run (/nowhere/elastron): build it, or correct ELASTRON_BIN" train
    (ulimit -n 70 && refused "only 70 files may be open (ulimit -n): raise the limit to at least 96" -np 2 train
      exit "$failures") || failures=$((failures + 1))
    (ulimit -f 1000 && refused "files of more than 1000 KiB are not allowed (ulimit -f): raise the limit to at\
 least 32768, which Open MPI needs for several ranks" -np 2 train
      exit "$failures") || failures=$((failures + 1))
    "$elastron_run" --help >"$log"
    expect_code 0 $? "--help"
    expect_line '^usage: elastron-run'
    ;;
  *)
    echo "no case $case_name" >&2
    exit 2
    ;;
esac
[ "$failures" -eq 0 ]
