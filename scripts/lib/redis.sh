# shellcheck shell=bash disable=SC2154 # `services` comes from common.sh
# Redis from Debian's package, on loopback. Each acknowledged write is on the disk, so that a restart keeps it.

# The package may start a server of its own on the port 6379. No test uses it.
redis_missing() { [[ -x /usr/bin/redis-server ]] || echo redis-server; }
redis_data() { echo "$services/$1/data"; }
redis_mark() { echo "$services/$1/redis.conf"; }
redis_stop_signal() { echo TERM; }
redis_address() { echo "redis://127.0.0.1:$(port_of "$1")"; }

redis_answers() {
  [[ $(timeout 3 redis-cli -h 127.0.0.1 -p "$(port_of "$1")" PING 2>/dev/null) == PONG ]]
}

redis_start() {
  local dir=$services/$1
  keep_port "$dir/port"
  require_free "$1" "$dir/port"
  mkdir -p "$(redis_data "$1")"
  redis_configure "$1"
  launch "$1" /usr/bin/redis-server "$(redis_mark "$1")"
}

# Writes the settings at each start, so that a restart applies changes. The process keeps its command line, by which it is
# recognized.
redis_configure() {
  cat >"$(redis_mark "$1")" <<P
bind 127.0.0.1
port $(port_of "$1")
dir "$(redis_data "$1")"
daemonize no
set-proc-title no
save ""
appendonly yes
appendfsync always
maxmemory-policy noeviction
P
}

redis_wipe() {
  local data
  data=$(redis_data "$1")
  rm -rf "${data:?}"
  rm -f "$services/$1/redis.conf"
}
