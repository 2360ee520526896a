# shellcheck shell=bash
# Reads cargo's metadata of this workspace. Sourced by scripts that run in its root.

metadata() { cargo metadata --no-deps --format-version 1 --locked; }

# The folder that cargo builds into.
target_directory() { metadata | grep -o '"target_directory":"[^"]*"' | cut -d '"' -f 4; }

# The features of a crate, one a line, without `default`. Fails if the crate is unknown.
features_of() { # CRATE
  local object
  object=$(metadata | grep -o "\"name\":\"$1\",\"version\".*" | grep -o '"features":{[^}]*}' | head -n 1) || return
  grep -o '"[^"]*":\[' <<<"$object" | tr -d '":[' | grep -vx default || true
}
