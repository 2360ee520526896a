# shellcheck shell=bash disable=SC2154 # `services` and `scripts` come from common.sh
# PostgreSQL from Debian's package, on loopback, with fsync on: crash tests mean nothing without it.

# As root the server runs under the account that the package made, because it refuses root.
postgres_as=()
((EUID)) || postgres_as=(setpriv --reuid=postgres --regid=postgres --init-groups --)

# The folder of PostgreSQL's programs: the given one, or that of the newest version installed.
postgres_bin() {
  [[ -z ${COMMS_TEST_POSTGRES_BIN:-} ]] || { echo "$COMMS_TEST_POSTGRES_BIN" && return; }
  find /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -V | tail -n 1 | xargs -r dirname
}

# PgBouncer is for tests that start one of their own. A server that its package may start is not used.
postgres_missing() {
  [[ -n $(postgres_bin) ]] || echo postgresql
  [[ -x /usr/sbin/pgbouncer ]] || echo pgbouncer
}
postgres_data() { cat "$services/$1/data-dir" 2>/dev/null || echo "$services/$1/data"; }
postgres_mark() { postgres_data "$1"; }
postgres_stop_signal() { echo INT; } # "fast": open sessions are ended
postgres_abort_signal() { echo QUIT; } # "immediate": no checkpoint
postgres_address() { echo "postgres://postgres@127.0.0.1:$(port_of "$1")/comms"; }

postgres_answers() {
  "$(postgres_bin)/pg_isready" -q -h 127.0.0.1 -p "$(port_of "$1")" -U postgres -d comms
}

postgres_start() {
  local dir=$services/$1 data
  keep_port "$dir/port"
  [[ -e $dir/initialised ]] || postgres_init "$1"
  require_free "$1" "$dir/port"
  data=$(postgres_data "$1")
  postgres_drop_stale_pid "$data"
  launch "$1" "${postgres_as[@]}" "$(postgres_bin)/postgres" -D "$data" -p "$(port_of "$1")" \
    -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=300 -c fsync=on
}

# The marker is written last: an interrupted initialisation is begun anew.
postgres_init() {
  local dir=$services/$1 data bin log=$services/$1/init.log
  bin=$(postgres_bin)
  postgres_wipe "$1"
  postgres_make_data_dir "$1"
  data=$(postgres_data "$1")
  say "$1: creating the database in $data"
  (
    cd /
    "${postgres_as[@]}" "$bin/initdb" -D "$data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-instructions
    "${postgres_as[@]}" "$bin/postgres" --single -D "$data" postgres <<<"CREATE DATABASE comms"
  ) >"$log" 2>&1 || die "initdb failed: $(tail -n 15 "$log")"
  touch "$dir/initialised"
}

# A clone in a folder closed to others (mode 0700) is out of reach for the account `postgres`.
postgres_make_data_dir() {
  local dir=$services/$1 base
  mkdir -p "$dir/data"
  postgres_own "$dir/data" && return
  rmdir "$dir/data"
  for base in "${TMPDIR:-/var/tmp}" /var/tmp /tmp; do
    mktemp -d "$base/comms-postgres.XXXXXX" >"$dir/data-dir" || continue
    postgres_own "$(<"$dir/data-dir")" && return
    rmdir "$(<"$dir/data-dir")"
  done
  rm -f "$dir/data-dir"
  die "the account 'postgres' can reach no folder for its data: tried $dir, ${TMPDIR:-/var/tmp} and /tmp"
}

postgres_own() { # DIR
  chmod 700 "$1"
  ((EUID)) || chown postgres:postgres "$1"
  (cd / && "${postgres_as[@]}" test -w "$1")
}

# After a crash the file names a pid that the system may have given to somebody else, at which the server
# would refuse to start. Its shared memory still guards the data against a second server.
postgres_drop_stale_pid() { # DATA
  local pid
  pid=$(head -n 1 "$1/postmaster.pid" 2>/dev/null) || return 0
  grep -zqxF -- "$1" "/proc/$pid/cmdline" 2>/dev/null || rm -f "$1/postmaster.pid"
}

postgres_wipe() {
  local data
  data=$(postgres_data "$1")
  rm -rf "${data:?}"
  rm -f "$services/$1"/{data-dir,initialised}
}
