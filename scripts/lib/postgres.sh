# shellcheck shell=bash disable=SC2154 # `services` and `scripts` come from common.sh
# PostgreSQL from Debian's package, on loopback. fsync is on, because crash tests prove nothing without it.

# PostgreSQL refuses to run as root. If this script runs as root, the server runs as the package's user `postgres`.
postgres_as=()
((EUID)) || postgres_as=(setpriv --reuid=postgres --regid=postgres --init-groups --)

# Prints the folder of PostgreSQL's programs: COMMS_TEST_POSTGRES_BIN, or that of the newest installed version.
postgres_bin() {
  [[ -z ${COMMS_TEST_POSTGRES_BIN:-} ]] || { echo "$COMMS_TEST_POSTGRES_BIN" && return; }
  find /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -V | tail -n 1 | xargs -r dirname
}

# Some tests start a PgBouncer. They do not use a PgBouncer that the Debian package may start.
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

# Writes the marker file last, so that the next start repeats an interrupted initialization.
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

# Creates the data folder. If the user `postgres` cannot reach the clone (a folder of mode 0700), it is outside of the clone.
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
  die "the user 'postgres' cannot reach a folder for its data: tried $dir, ${TMPDIR:-/var/tmp} and /tmp"
}

postgres_own() { # DIR
  chmod 700 "$1"
  ((EUID)) || chown postgres:postgres "$1"
  (cd / && "${postgres_as[@]}" test -w "$1")
}

# Removes postmaster.pid after a crash. The pid in it may belong to another process by now, and PostgreSQL would refuse to
# start. The shared memory segment still protects the data from a second server.
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
