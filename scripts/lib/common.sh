# shellcheck shell=bash
# Folders, messages, the lock, and the installation of packages. Sourced by scripts/services and scripts/python.

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
services=${COMMS_TEST_SERVICES_DIR:-$scripts/../target/services}

say() { echo "services: $*" >&2; }
die() {
  echo "services: error: $*" >&2
  exit 1
}

# Uses the physical path, because a server is recognized by the path in its command line.
open_services_dir() {
  mkdir -p "$services" 2>/dev/null || true
  [[ -d $services ]] || die "cannot create $services: set COMMS_TEST_SERVICES_DIR to another folder"
  services=$(cd "$services" && pwd -P)
}

# Closes the inherited descriptors, so that a server process keeps neither the lock nor a pipe of the caller open.
close_inherited() {
  local fd
  for fd in "/proc/$BASHPID/fd"/*; do
    fd=${fd##*/}
    ((fd <= 2)) || eval "exec $fd>&-"
  done
}

# Only one process may change the servers at a time. The lock is released when this process ends.
take_lock() {
  [[ -w $services ]] || die "cannot write to $services: set COMMS_TEST_SERVICES_DIR to another folder"
  exec 9>>"$services/lock"
  flock -n 9 && return
  say "waiting for another scripts/services process"
  flock -w 600 9 || die "another scripts/services process has held $services/lock for 10 minutes"
}

# Sets `elevate` to the prefix that runs a command as root. Fails if there is none.
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
  command -v apt-get >/dev/null || die "apt-get is missing: install these Debian packages by hand: $*"
  find_root || die "packages are missing and this user cannot install them: run 'apt-get install $*' as root"
  say "installing Debian packages: $*"
  apt_get update >"$log" 2>&1 || die "apt-get update failed: $(tail -5 "$log")"
  apt_get install -y --no-install-recommends "$@" >>"$log" 2>&1 ||
    die "apt-get install $* failed, see $log: $(tail -5 "$log")"
  hash -r
}

# A package may start a daemon, which must not inherit descriptors. The timeout is for another apt process.
apt_get() {
  (
    close_inherited
    exec "${elevate[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get -q -o DPkg::Lock::Timeout=300 "$@" </dev/null
  )
}
