#!/usr/bin/env bash
# hosts.sh: hosts made from network namespaces of this machine, for trying out runs over several.
# Each has its own network and host name, and sees the files and processes of the machine. They are
# called host1, host2, ... and hang on one switch, with a limit of bandwidth and a delay per link.
# Needs root, iproute2 and util-linux.
#
#   hosts.sh up FOLDER OWNER HOSTS RATE DELAY RELAY
#                                               makes them; FOLDER is empty and names them. When the
#                                               process OWNER has ended, however that came about, they
#                                               are removed with FOLDER. RATE as tc takes it (200mbit);
#                                               DELAY in microseconds, one way per link (0: none), for
#                                               which RELAY holds frames back
#   hosts.sh on FOLDER HOST PROGRAM [ARGS...]   runs a program there
#   hosts.sh shell FOLDER HOST COMMAND...       a command line there, as ssh HOST does
#   hosts.sh cut FOLDER HOST                    takes its link down, at the switch
#   hosts.sh processes FOLDER                   ids of what runs on them
#   hosts.sh down FOLDER                        kills what runs on them and removes them
#
# Exit code 77 of `up`: this machine cannot have them; the reason is on stderr.
set -uo pipefail
action=$1 folder=$2
name=$(basename "$folder")
shift 2

# The namespace of a host, or of the switch.
space() { echo "$name-$1"; }

spaces() { ip netns list 2>/dev/null | cut -d ' ' -f 1 | grep -E "^$name-(switch|host[0-9]+)$"; }

down() {
  local one
  for one in $(spaces); do
    # shellcheck disable=SC2046
    kill -KILL $(ip netns pids "$one") 2>/dev/null
    ip netns del "$one"
  done
}

cannot() {
  echo "skipped: no hosts from network namespaces: $1" >&2
  down
  exit 77
}

# Runs a step of `up`, or gives up with what it said.
try() {
  local said
  said=$("$@" 2>&1) || cannot "$* failed: ${said%%$'\n'*}"
}

# link NUMBER: from eth0 of the host to a port of the switch.
link() {
  local host port=port$1 tries=0
  host=$(space "host$1")
  if [ "$delay" -eq 0 ]; then
    try ip link add eth0 netns "$host" type veth peer name "$port" netns "$(space switch)"
  else
    try ip -n "$host" tuntap add eth0 mode tap
    try ip -n "$(space switch)" tuntap add "$port" mode tap
    setsid ip netns exec "$host" "$relay" eth0 "/run/netns/$(space switch)" "$port" "$delay" \
      >"$folder/relay$1" 2>&1 </dev/null &
    until [ -s "$folder/relay$1" ] || [ "$tries" -ge 100 ]; do
      tries=$((tries + 1))
      sleep 0.02
    done
    [ "$(cat "$folder/relay$1")" = ready ] || cannot "$(cat "$folder/relay$1")"
  fi
  try ip -n "$host" address add "10.77.0.$1/24" dev eth0
  try ip -n "$host" link set lo up
  try ip -n "$host" link set eth0 up
  try tc -n "$host" qdisc add dev eth0 root tbf rate "$rate" burst 64kb latency 50ms
  try ip -n "$(space switch)" link set "$port" master bridge
  try ip -n "$(space switch)" link set "$port" up
  try tc -n "$(space switch)" qdisc add dev "$port" root tbf rate "$rate" burst 64kb latency 50ms
}

case $action in
  up)
    owner=$1 hosts=$2 rate=$3 delay=$4 relay=$5
    for tool in ip tc unshare; do
      command -v "$tool" >/dev/null || cannot "$tool is not installed"
    done
    [ "$(id -u)" -eq 0 ] || cannot "that takes root"
    setsid "$0" guard "$folder" "$owner" >"$folder/guard" 2>&1 </dev/null &
    try ip netns add "$(space switch)"
    try ip -n "$(space switch)" link add bridge type bridge
    try ip -n "$(space switch)" link set bridge up
    echo "127.0.0.1 localhost" >"$folder/hosts"
    for ((i = 1; i <= hosts; ++i)); do
      try ip netns add "$(space "host$i")"
      echo "10.77.0.$i host$i" >>"$folder/hosts"
    done
    try ip netns exec "$(space host1)" unshare --uts mount --bind "$folder/hosts" /etc/hosts
    for ((i = 1; i <= hosts; ++i)); do link "$i"; done
    ;;
  on | shell)
    host=$1
    shift
    [ "$action" = on ] || set -- sh -c "$*"
    # ip gives the program a view of the mounts of its own: nobody else sees this /etc/hosts.
    exec ip netns exec "$(space "$host")" unshare --uts \
      sh -c 'mount --bind "$0" /etc/hosts && hostname "$1" && shift && exec "$@"' \
      "$folder/hosts" "$host" "$@"
    ;;
  cut) ip -n "$(space switch)" link set "port${1#host}" down ;;
  processes)
    for one in $(spaces); do
      [ "$one" = "$(space switch)" ] || ip netns pids "$one"
    done
    ;;
  down) down ;;
  guard)
    tail --pid="$1" -f /dev/null
    down
    rm -rf "$folder"
    ;;
esac
