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
