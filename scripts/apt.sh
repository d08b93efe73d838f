# Sourced: the system's package tool for people who are not root as well. `apt` holds options for
# apt-get and apt-cache; `refresh` reads the archive's lists, into a place of our own without root.
apt=()
# Downloads go to directories of ours, which the user that apt would become cannot read: without this it warns of that.
[ "$(id -u)" != 0 ] || apt=(-o APT::Sandbox::User=root)
refresh() {
  printf '%s\n' "packages: reading the archive's lists" >&2
  if [ "$(id -u)" = 0 ]; then
    apt-get "${apt[@]}" update -qq >&2 || true
  else
    local state=$PWD/.build/apt
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
    apt=(-o "Dir::State::Lists=$state/lists" -o "Dir::Cache=$state/cache" -o "Debug::NoLocking=1")
    apt-get "${apt[@]}" update -qq >&2 || true
  fi
}
