# shellcheck shell=bash
# Where things lie, messages, the lock, and packages. Sourced by scripts/services.

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
services=${COMMS_TEST_SERVICES_DIR:-$scripts/../target/services}

say() { echo "services: $*" >&2; }
die() {
  echo "services: error: $*" >&2
  exit 1
}

# The physical path, because a server is recognised by the path in its command line.
open_services_dir() {
  mkdir -p "$services" 2>/dev/null || true
  [[ -d $services ]] || die "cannot create $services: give another folder in COMMS_TEST_SERVICES_DIR"
  services=$(cd "$services" && pwd -P)
}

# Children that outlive us must hold neither the lock nor a pipe of our caller, who would wait for its end.
close_inherited() {
  local fd
  for fd in "/proc/$BASHPID/fd"/*; do
    fd=${fd##*/}
    ((fd <= 2)) || eval "exec $fd>&-"
  done
}

# One change at a time; the lock goes with this process.
take_lock() {
  [[ -w $services ]] || die "cannot write to $services: give another folder in COMMS_TEST_SERVICES_DIR"
  exec 9>>"$services/lock"
  flock -n 9 && return
  say "waiting for another scripts/services"
  flock -w 600 9 || die "another scripts/services has held $services/lock for 10 minutes"
}

# Sets `elevate` to what makes a command run as root; fails where nothing does.
find_root() {
  elevate=()
  ((EUID == 0)) && return
  command -v sudo >/dev/null || return 1
  elevate=(sudo)
  # Without a terminal sudo cannot ask for a password.
  sudo -n true 2>/dev/null || [[ -t 0 ]]
}

install_packages() { # PACKAGE...
  local log=$services/install.log
  command -v apt-get >/dev/null || die "there is no apt-get here: install by hand what Debian calls: $*"
  find_root || die "missing, and neither root nor sudo is at hand to install them: run 'apt-get install $*' as root"
  say "installing from Debian: $*"
  apt_get update >"$log" 2>&1 || die "apt-get update failed: $(tail -5 "$log")"
  apt_get install -y --no-install-recommends "$@" >>"$log" 2>&1 ||
    die "apt-get install $* failed, see $log: $(tail -5 "$log")"
  hash -r
}

# A package may start a daemon: hence the closed descriptors. Another apt may be at work: hence the time-out.
apt_get() {
  (
    close_inherited
    exec "${elevate[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get -q -o DPkg::Lock::Timeout=300 "$@" </dev/null
  )
}
