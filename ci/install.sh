# What other scripts need beside Rust, installed where that can be (as root, with apt). To be sourced, not run.

# need CHECK PACKAGE...     installs the packages unless the command line CHECK succeeds; fails where it still does not
need() {
  local check=$1
  shift
  eval "$check" >/dev/null 2>&1 && return
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    # Once in a script is enough.
    [ -n "${lists_are_new:-}" ] || apt-get update -qq || true
    lists_are_new=yes
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null || true
  fi
  eval "$check" >/dev/null 2>&1 || { echo "$0: please install: $*" >&2; return 1; }
}
