# What the scripts beside this one share. They source it; it runs nothing by itself.
# shellcheck shell=bash
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." >/dev/null && pwd)
choice=$root/TorchProvider.props
export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1

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
  command -v dotnet >/dev/null || fail "the .NET 10 SDK is needed, and there is no 'dotnet' on the PATH: https://dotnet.microsoft.com/download/dotnet/10.0"
  (cd "$root" && dotnet --version >/dev/null 2>&1) ||
    fail "the .NET 10 SDK is needed (global.json); the SDKs here: $(cd / && dotnet --list-sdks | awk '{ printf "%s ", $1 } END { if (!NR) printf "none" }')"
}

# chosen TorchProvider|TorchHome|TorchDevice: what setup.sh has written
chosen() {
  [ -s "$choice" ] || return 0
  sed -n "s|.*<$1>\(.*\)</$1>.*|\1|p" "$choice" | sed 's/&lt;/</g; s/&gt;/>/g; s/&amp;/\&/g'
}

# Jobs of one sweep start together in one checkout. They set up and build one at a time.
lock() {
  mkdir -p "$root/obj"
  exec 9>"$root/obj/scripts.lock"
  if command -v flock >/dev/null; then flock 9; fi
}

ensure_setup() { [ -s "$choice" ] || bash "$root/scripts/setup.sh" >&2; }

# build PROJECT: its Release build, silent unless it fails. Build servers outlive it, so they must not inherit the lock.
build() (
  lock
  cd "$root" || exit
  require_dotnet
  dotnet build "$1" -c Release -v quiet --nologo >obj/build.log 2>&1 9>&- && exit
  grep -E '(error|warning) ?[A-Z0-9]*: ' obj/build.log | sed 's/ \[[^]]*\]$//' | sort -u >&2 || cat obj/build.log >&2
  echo "The build failed; all of its output is in $root/obj/build.log" >&2
  exit 1
)

# EMTTORCH_TRAINER names another build, and then nothing is built.
trainer=${EMTTORCH_TRAINER:-$root/Trainer/bin/Release/net10.0/Trainer.dll}
trainer_built=$root/obj/Trainer.built

# What Trainer is made of: trainer_sources FIND-EXPRESSION…
trainer_sources() {
  (cd "$root" && find Directory.* global.json TorchProvider.props Trainer src \( -name bin -o -name obj \) -prune -o -type f "$@")
}

trainer_list() {
  local torch=${TORCH_HOME:-$(chosen TorchHome)}
  echo "$torch"
  { cat "$torch"/include/torch/{,headeronly/,csrc/api/include/torch/}version.h 2>/dev/null || true; } | cksum
  trainer_sources -print | LC_ALL=C sort
}

# Whether the build is of these very files. Then it is used as it is: a cluster's nodes may be without SDK and network.
trainer_is_built() {
  [ -e "$trainer" ] && [ -e "$trainer_built" ] && [ "$(trainer_list)" = "$(cat "$trainer_built")" ] &&
    [ -z "$(trainer_sources -newer "$trainer_built" -print -quit)" ]
}

build_trainer() {
  [ -z "${EMTTORCH_TRAINER-}" ] || return 0
  ensure_setup || exit
  # With the lock once more: another job may be building it.
  if trainer_is_built || (lock; trainer_is_built); then return; fi
  [ -e "$trainer" ] || echo "Building Trainer (about a minute, the first time)" >&2
  trainer_list >"$trainer_built.$$" # before the build: what is changed meanwhile is newer
  build Trainer || { rm -f "$trainer_built.$$"; exit 1; }
  mv "$trainer_built.$$" "$trainer_built"
}

# In place of this shell, so that signals and the exit code are Trainer's own.
run_trainer() {
  build_trainer
  exec dotnet "$trainer" "$@"
}
