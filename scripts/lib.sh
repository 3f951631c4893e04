# What the scripts beside this one share. They source it; it runs nothing by itself.
# shellcheck shell=bash
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." >/dev/null && pwd)
# The SDK wants libicu, or to be told that it does without.
export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1

fail() {
  echo "${0##*/}: $*" >&2
  exit 1
}

# A script's --help is the comment at its top.
usage() { awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; }

# For a script that does nothing without arguments: require_arguments "$@"
require_arguments() {
  case ${1-} in
    -h | --help) usage; exit 0 ;;
    '') usage >&2; exit 2 ;;
  esac
}

wrong_usage() {
  echo "${0##*/}: $*" >&2
  echo "${0##*/} --help lists what there is." >&2
  exit 2
}

require_dotnet() {
  local url=https://dotnet.microsoft.com/download/dotnet/10.0
  command -v dotnet >/dev/null || fail "the .NET 10 SDK is needed, and there is no 'dotnet' on the PATH: $url"
  (cd "$root" && dotnet --version >/dev/null 2>&1) || fail "the .NET 10 SDK is needed (global.json): $url
The SDKs here: $(cd / && dotnet --list-sdks | awk '{ printf "%s ", $1 } END { if (!NR) printf "none" }')"
}

# Jobs of one sweep start together in one checkout. They build one at a time.
lock() {
  mkdir -p "$root/obj"
  exec 9>"$root/obj/scripts.lock"
  if command -v flock >/dev/null; then flock 9; fi
}

# dotnet_quietly restore|build …: silent unless it fails. Build servers outlive it: they must not inherit the lock.
dotnet_quietly() {
  local log=$root/obj/$1.log
  dotnet "$@" -v quiet --nologo >"$log" 2>&1 9>&- && return
  # A package's errors come once for each project.
  sed -nE 's/ \[[^]]*\]$//; s/^[^ ]+ : (error NU)/\1/; /(error|warning) ?[A-Z0-9]*: /p' "$log" | sort -u >"$log.short"
  if grep -m 1 'error NU1301: .*http' "$log.short" >&2; then
    echo "A package feed does not answer; 'dotnet nuget list source' lists them. Packages are fetched once, into
${NUGET_PACKAGES:-~/.nuget/packages}, and builds after that need no network." >&2
  elif [ -s "$log.short" ]; then
    cat "$log.short" >&2
  else
    cat "$log" >&2
  fi
  echo "All of the output is in $log" >&2
  return 1
}

# build PROJECT: its Release build
build() (
  lock
  cd "$root" || exit
  require_dotnet
  dotnet_quietly build "$1" -c Release
)

# EMTTORCH_TRAINER names another build, and then nothing is built.
trainer=${EMTTORCH_TRAINER:-$root/Trainer/bin/Release/net10.0/Trainer.dll}
trainer_built=$root/obj/Trainer.built

# What Trainer is made of: trainer_sources FIND-EXPRESSION…
trainer_sources() {
  (
    cd "$root" || exit
    shopt -s nullglob
    find Directory.* TorchDevice.props* global.json Trainer src \( -name bin -o -name obj \) -prune -o -type f "$@"
  )
}

trainer_list() { trainer_sources -print | LC_ALL=C sort; }

# Whether the build is of these very files, and what it links to in the package cache is there. Then it is used as it
# is: a cluster's nodes may be without SDK and network.
trainer_is_built() {
  [ -e "$trainer" ] && [ -e "$trainer_built" ] && [ "$(trainer_list)" = "$(cat "$trainer_built")" ] &&
    [ -z "$(trainer_sources -newer "$trainer_built" -print -quit)" ] &&
    [ -z "$(find -L "${trainer%/*}" -type l -print -quit)" ]
}

build_trainer() {
  [ -z "${EMTTORCH_TRAINER-}" ] || return 0
  # With the lock once more: another job may be building it.
  if trainer_is_built || (lock; trainer_is_built); then return; fi
  [ -e "$trainer" ] || echo "Building Trainer (about a minute, and the packages: some hundred MB the first time)" >&2
  mkdir -p "$root/obj"
  trainer_list >"$trainer_built.$$" # before the build: what is changed meanwhile is newer
  build Trainer || { rm -f "$trainer_built.$$"; exit 1; }
  mv "$trainer_built.$$" "$trainer_built"
}

# In place of this shell, so that signals and the exit code are Trainer's own.
run_trainer() {
  build_trainer
  exec dotnet "$trainer" "$@"
}

# install_packages PACKAGE…: Debian's, for tests. Says why if it can't.
install_packages() {
  local log
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "As root: apt-get install $* (or what your system calls it)"
    return 1
  fi
  log=$(mktemp)
  apt_get() { DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=300 "$@" >>"$log" 2>&1; }
  # After an update once more: stale lists name files that are no longer there.
  apt_get install --no-install-recommends "$@" || { apt_get update && apt_get install --no-install-recommends "$@"; } ||
    { echo "apt-get could not install $*: $(tail -n 1 "$log") ($log)"; return 1; }
  rm -f "$log"
}
