# shellcheck shell=bash disable=SC2154 # `services` and `scripts` come from common.sh
# The verbs of scripts/services. To add a server, add it to `servers`, `variables` and `default_ports`, to `settings` if the
# reference app uses it, and add a file with its KIND_ functions.

servers=(postgres kafka redis)
declare -A variables=([postgres]=COMMS_TEST_POSTGRES_URL [kafka]=COMMS_TEST_KAFKA_BROKERS [redis]=COMMS_TEST_REDIS_URL)
declare -A default_ports=([postgres]=5432 [kafka]=9092 [redis]=6379)
# The variables of the same servers for `cargo run -p reference-app -- --profile full`.
declare -A settings=([postgres]=COMMS_DATABASE__URL [kafka]=COMMS_KAFKA__BROKERS)

check_names() {
  local name
  for name in "$@"; do
    [[ -n ${variables[$name]:-} ]] || die "there is no server '$name': they are ${servers[*]}"
  done
}

# Succeeds if the environment has the address of another server than the one that this script starts. After
# `eval "$(scripts/services env)"` it has the address of this script's server.
given() { # NAME
  local value=${!variables[$1]:-}
  [[ -n $value ]] && ! { port_of "$1" >/dev/null && [[ $value == "$(call address "$1")" ]]; }
}

# Fails if the given server does not answer. The message has only the variable's name: the value may have a password.
require_given() { # NAME
  local variable=${variables[$1]} host
  host=${!variable}
  host=${host#*://} && host=${host##*@} && host=${host%%[/?,]*}
  [[ $host == *:* ]] || host+=":${default_ports[$1]}"
  (exec 3<>"/dev/tcp/${host%:*}/${host##*:}") 2>/dev/null ||
    die "$variable is set, but nothing answers at $host: unset it, so that this script starts $1"
  say "$1: using the server that $variable names"
}

start() { # NAME...
  local name own=()
  for name in "$@"; do
    if given "$name"; then require_given "$name"; else own+=("$name"); fi
  done
  ((${#own[@]})) || return 0
  begin "${own[@]}"
}

# Starts servers at the same time, and waits until all of them answer.
begin() { # NAME...
  local name packages=() started=()
  # The packages of running servers, too: tests start further programs of them.
  mapfile -t packages < <(for name in "$@"; do call missing "$name"; done)
  ((${#packages[@]} == 0)) || install_packages "${packages[@]}"
  for name in "$@"; do
    mkdir -p "$services/$name"
    alive "$name" && continue
    call start "$name"
    started+=("$name")
  done
  for name in "$@"; do
    wait_answer "$name"
    say "$name: $([[ " ${started[*]} " == *" $name "* ]] && echo started || echo "runs already"), $(call address "$name")"
  done
}

restart() { # NAME
  port_of "$1" >/dev/null || die "$1 was never started by this script: run scripts/services start $1"
  if alive "$1"; then stop_server "$1"; fi
  begin "$1"
}

status() {
  local name state
  for name in "${servers[@]}"; do
    state=stopped
    if given "$name"; then state=given; fi
    if alive "$name"; then state=silent; fi
    if [[ $state == silent ]] && call answers "$name"; then state=running; fi
    printf '%-9s %-8s pid %-7s port %-6s %s\n' "$name" "$state" "$(pid_of "$name" || echo -)" \
      "$(port_of "$name" || echo -)" "$(call data "$name")"
  done
}

print_env() {
  local name variable any='' bin address
  for name in "${servers[@]}"; do
    variable=${variables[$name]}
    if given "$name"; then
      address=${!variable}
    elif port_of "$name" >/dev/null; then
      alive "$name" || say "$name: not running"
      address=$(call address "$name")
    else
      continue
    fi
    any=1
    printf 'export %s=%q\n' "$variable" "$address"
    [[ -z ${settings[$name]:-} ]] || printf 'export %s=%q\n' "${settings[$name]}" "$address"
  done
  [[ -n $any ]] || die "no server was started yet: run scripts/services start"
  # There is one broker.
  echo "export COMMS_KAFKA__REPLICATION_FACTOR=1"
  # Crash tests start their own PostgreSQL.
  bin=$(postgres_bin)
  [[ -z $bin ]] || printf 'export COMMS_TEST_POSTGRES_BIN=%q\n' "$bin"
  # Tests start their own broker and Kafka's command line tools.
  ! kafka_fetched || printf 'export COMMS_TEST_KAFKA_LIBS=%q\n' "$(kafka_libs)"
}

wipe() {
  local name
  for name in "${servers[@]}"; do
    stop_server "$name"
    call wipe "$name"
    rm -f "$services/$name"/{log,pid}
  done
}
