# shellcheck shell=bash disable=SC2154 # `services` and `scripts` come from common.sh
# Server processes and their ports. A server NAME keeps `pid`, `port`, `log` and its data in $services/NAME.
# What differs between servers is a function KIND_verb, where KIND is NAME up to its first dash (a second
# broker would be kafka-2): KIND_mark, the argument that tells its command line from any other's;
# KIND_missing, the packages it lacks; KIND_start; KIND_answers; KIND_stop_signal; KIND_address; KIND_data;
# KIND_wipe.

kind() { echo "${1%%-*}"; }
call() { "$(kind "$2")_$1" "${@:2}"; } # VERB NAME...

pid_of() { cat "$services/$1/pid" 2>/dev/null; }
port_of() { cat "$services/$1/port" 2>/dev/null; }

# A zombie, which an idle init never reaps, has an empty command line: it does not count as running.
exists() { [[ -n $(tr -d '\0' 2>/dev/null <"/proc/$1/cmdline") ]] 2>/dev/null; }

# A pid alone proves nothing, since the system gives it again: the command line must be that of our server.
alive() {
  local pid
  pid=$(pid_of "$1") && grep -zqxF -- "$(call mark "$1")" "/proc/$pid/cmdline" 2>/dev/null
}

wait_gone() { # SECONDS PID...
  local pid until=$((SECONDS + $1))
  for pid in "${@:2}"; do
    while exists "$pid"; do
      ((SECONDS < until)) || return 1
      sleep 0.05
    done
  done
}

# Detached from the caller's terminal, session, input and descriptors, from a folder that everybody may enter.
launch() { # NAME COMMAND...
  local log=$services/$1/log
  (
    cd /
    close_inherited
    exec setsid "${@:2}" </dev/null >>"$log" 2>&1
  ) &
  echo $! >"$services/$1/pid"
}

# By pid alone: between fork and exec the command line is not yet the server's.
wait_answer() {
  local until=$((SECONDS + 120))
  until call answers "$1"; do
    exists "$(pid_of "$1")" || die "$1 ended while it started: $(tail -n 15 "$services/$1/log")"
    ((SECONDS < until)) || die "$1 does not answer after 120 s, see $services/$1/log"
    sleep 0.1
  done
}

stop_server() {
  local pid
  if ! alive "$1"; then
    say "$1: not running"
    return
  fi
  pid=$(pid_of "$1")
  kill -s "$(call stop_signal "$1")" "$pid" || die "$1: may not signal pid $pid"
  if ! wait_gone 40 "$pid"; then
    say "$1: did not stop within 40 s, killing it"
    crash "$pid"
  fi
  rm -f "$services/$1/pid"
  say "$1: stopped"
}

# The signal KIND_abort_signal ends a server without an orderly end of its data.
abort_server() {
  local pid
  alive "$1" || die "$1 is not running, or not started by this script"
  pid=$(pid_of "$1")
  kill -s "$(call abort_signal "$1")" "$pid" || die "$1: may not signal pid $pid"
  wait_gone 20 "$pid" || die "$1 is still there 20 s after the signal"
  rm -f "$services/$1/pid"
  say "$1: aborted"
}

kill_server() {
  alive "$1" || die "$1 is not running, or not started by this script"
  crash "$(pid_of "$1")"
  rm -f "$services/$1/pid"
  say "$1: killed"
}

# As when the machine goes down: children too, since a busy one outlives its parent. The parent is frozen
# first, lest it start another in between.
crash() { # PID
  local pids
  kill -s STOP "$1" || die "may not signal pid $1"
  mapfile -t pids < <(grep -lE "^PPid:[[:space:]]+$1\$" /proc/[0-9]*/status 2>/dev/null | cut -d/ -f3)
  kill -s KILL "$1" "${pids[@]}" 2>/dev/null || true
  wait_gone 20 "$1" "${pids[@]}" || die "pid $1 is still there 20 s after SIGKILL"
}

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; } # PORT

# Below the range that the system takes outgoing ports from, and kept: a restarted server is where it was.
keep_port() { # FILE
  local port
  [[ ! -s $1 ]] || return 0
  for _ in {1..200}; do
    port=$((20000 + RANDOM % 12000))
    grep -q ":$(printf %04X "$port") " /proc/net/tcp /proc/net/tcp6 2>/dev/null && continue
    grep -qsxF "$port" "$services"/*/*port || { echo "$port" >"$1" && return; }
  done
  die "found no free port"
}

require_free() { # NAME FILE
  listening "$(<"$2")" || return 0
  die "port $(<"$2") of $1 is taken by another process: free it, or delete $2 and start again for a new port"
}
