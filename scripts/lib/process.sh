# shellcheck shell=bash disable=SC2154 # `services` and `scripts` come from common.sh
# Server processes and their ports. A server NAME has `pid`, `port`, `log` and its data in $services/NAME.
#
# Each kind of server has functions KIND_verb. KIND is NAME up to the first dash (a second broker is kafka-2):
#   KIND_mark         prints an argument that only this server's command line has
#   KIND_missing      prints the Debian packages that are not installed
#   KIND_start        starts the server
#   KIND_answers      succeeds if the server accepts requests
#   KIND_stop_signal  prints the signal that stops the server
#   KIND_address      prints the address for clients
#   KIND_data         prints the data folder
#   KIND_wipe         deletes the data

kind() { echo "${1%%-*}"; }
call() { "$(kind "$2")_$1" "${@:2}"; } # VERB NAME...

pid_of() { cat "$services/$1/pid" 2>/dev/null; }
port_of() { cat "$services/$1/port" 2>/dev/null; }

# Succeeds if process PID runs. A zombie has an empty command line and does not count.
exists() { [[ -n $(tr -d '\0' 2>/dev/null <"/proc/$1/cmdline") ]] 2>/dev/null; }

# Succeeds if the server runs. The system may assign its pid to another process, so the command line is checked, too.
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

# Starts a server in its own session, without the caller's terminal, input and descriptors, in the folder /.
launch() { # NAME COMMAND...
  local log=$services/$1/log
  (
    cd /
    close_inherited
    exec setsid "${@:2}" </dev/null >>"$log" 2>&1
  ) &
  echo $! >"$services/$1/pid"
}

# Waits until the server answers. Checks only the pid: between fork and exec the command line is not yet the server's.
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

# Stops a server by the signal KIND_abort_signal, without a clean shutdown of its data.
abort_server() {
  local pid
  alive "$1" || die "$1 is not running, or not started by this script"
  pid=$(pid_of "$1")
  kill -s "$(call abort_signal "$1")" "$pid" || die "$1: may not signal pid $pid"
  wait_gone 20 "$pid" || die "$1 still runs 20 s after the signal"
  rm -f "$services/$1/pid"
  say "$1: aborted"
}

kill_server() {
  alive "$1" || die "$1 is not running, or not started by this script"
  crash "$(pid_of "$1")"
  rm -f "$services/$1/pid"
  say "$1: killed"
}

# Kills a process with its children, as in a crash of the machine: a busy child would outlive its parent. The parent is
# stopped first, so that it starts no further child.
crash() { # PID
  local pids
  kill -s STOP "$1" || die "may not signal pid $1"
  mapfile -t pids < <(grep -lE "^PPid:[[:space:]]+$1\$" /proc/[0-9]*/status 2>/dev/null | cut -d/ -f3)
  kill -s KILL "$1" "${pids[@]}" 2>/dev/null || true
  wait_gone 20 "$1" "${pids[@]}" || die "pid $1 still runs 20 s after SIGKILL"
}

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; } # PORT

# Chooses a free port and stores it in FILE, so that a restarted server has the same port. The port is below the range of
# outgoing connections.
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
