# Shared by the scripts beside it; sourced, not run.

set -euo pipefail

# The root of the source tree, whatever the caller's directory is.
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
tools=$top/target/tools

# Programs that scripts/install-deps unpacked without root, and Cargo's own.
PATH=$tools/bin:$PATH:/usr/sbin:/sbin
[ -d "${CARGO_HOME:-${HOME:-/nonexistent}/.cargo}/bin" ] && PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
export PATH

say() { printf '\n== %s\n' "$*"; }
note() { printf '   %s\n' "$*"; }
die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" -eq 0 ]; }

# processes_of USER: pids of the processes that run as USER; one that ended and waits for its parent to
# notice does not run.
processes_of() {
  local directory id
  id=$(id -u "$1")
  for directory in /proc/[0-9]*; do
    [ "$(stat -c %u "$directory" 2>/dev/null)" = "$id" ] || continue
    grep -qs '^State:.Z' "$directory/status" || printf '%s\n' "${directory#/proc/}"
  done
  return 0
}

# remove_user USER: with its processes. Only for users that a script made.
remove_user() {
  local pid
  for pid in $(processes_of "$1"); do
    kill -KILL "$pid" 2>/dev/null || true
    # userdel refuses while it is there.
    timeout 10 tail --pid="$pid" -f /dev/null || true
  done
  userdel "$1" 2>/dev/null
}
