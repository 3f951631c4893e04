#!/usr/bin/env bash
# Decides, once per checkout, where Torch comes from, and writes it to TorchProvider.props, which the build reads.
#
#   scripts/setup.sh [--provider nuget|system] [--torch-home DIR] [--device cpu|cuda] [--force]
#
#   --provider nuget    TorchSharp's packages; chosen where the configured NuGet feeds have them
#   --provider system   src/SystemTorch over a libtorch of this machine: TORCH_HOME, a Python installation's torch or
#                       Debian's libtorch-dev, which is installed through apt-get where there is none of them
#   --torch-home DIR    that libtorch: a Python installation's torch folder, an unpacked libtorch, or /usr for Debian's
#   --device cpu|cuda   which libtorch to want (default: cuda where nvidia-smi finds a GPU)
#   --force             decide anew; so does every other option
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

oldest_torch=1.13
nuget_seconds=60 download_seconds=3600
provider='' home='' device='' because=''

# --- what there is on this machine ---

library_folder() {
  local folder
  for folder in "$1/lib" "$1/lib/$(uname -m)-linux-gnu" "$1/lib64"; do
    if [ -e "$folder/libtorch_cpu.so" ]; then echo "$folder"; return; fi
  done
  return 1
}

# Debian's Python torch is links into /usr, and without libtorch-dev they lead nowhere.
is_debians() { [ "$(dirname -- "$(readlink -f "$1/lib/libtorch_cpu.so")")" = "$(readlink -f /usr/lib)/$(uname -m)-linux-gnu" ]; }

torch_version() {
  local header
  # Newest layout first: from 2.9 on, the older files only include the newer one.
  for header in torch/headeronly/version.h torch/csrc/api/include/torch/version.h torch/version.h; do
    [ -e "$1/include/$header" ] || continue
    awk '$2 ~ /^TORCH_VERSION_(MAJOR|MINOR|PATCH)$/ && $3 ~ /^[0-9]+$/ && !($2 in part) { part[$2] = $3; n++ }
      END { if (n < 3) exit 1; print part["TORCH_VERSION_MAJOR"] "." part["TORCH_VERSION_MINOR"] "." part["TORCH_VERSION_PATCH"] }' "$1/include/$header" && return
  done
  return 1
}

at_least() { [ "$(printf '%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; } # at_least 2.0.1 1.13

has_cuda() { [ -e "$(library_folder "$1")/libtorch_cuda.so" ]; }

# Says why a folder can't be built against; succeeds, and says nothing, where it can.
problem_with() {
  local version
  if ! library_folder "$1" >/dev/null; then
    echo "there is no libtorch_cpu.so under $1/lib"
  elif [ ! -e "$1/include/ATen/core/dispatch/Dispatcher.h" ]; then
    echo "there are no C++ headers (ATen/core/dispatch/Dispatcher.h) under $1/include"
  elif ! version=$(torch_version "$1"); then
    echo "$1 does not say its version (include/torch/version.h)"
  elif ! at_least "$version" $oldest_torch; then
    echo "$1 is libtorch $version; $oldest_torch is the oldest that works"
  elif [ "$device" = cuda ] && ! has_cuda "$1"; then
    echo "the libtorch in $1 is without CUDA"
  else
    return 0
  fi
  return 1
}

# The torch folders of the Pythons here. Looked up, not imported: importing takes seconds.
python_torches() {
  local python
  for python in "${CONDA_PREFIX:-/usr}/bin/python3" python3 /usr/bin/python3; do
    (cd / && "$python" -c '
import importlib.util
spec = importlib.util.find_spec("torch")
print(*(spec.submodule_search_locations or []) if spec else [], sep="\n")' 2>/dev/null) || true
  done | awk 'NF && !seen[$0]++'
}

find_libtorch() {
  local folder
  while IFS= read -r folder; do
    [ "$folder" = /usr ] || ! is_debians "$folder" || continue
    if problem_with "$folder" >/dev/null; then echo "$folder"; return; fi
  done < <(python_torches; echo /usr)
  return 1
}

# --- NuGet ---

package_version() { sed -n "s/.*Include=\"$1\" Version=\"\([^\"]*\)\".*/\1/p" "$root/Directory.Packages.props"; }

# feeds_have SECONDS PACKAGE…: restores them in a folder of this checkout, so that its own feeds and versions count.
# Asking a feed to search would be quicker, but not every feed can.
feeds_have() {
  local seconds=$1 probe=$root/obj/probe code=0 package version
  shift
  rm -rf "$probe"
  mkdir -p "$probe"
  {
    echo '<Project Sdk="Microsoft.NET.Sdk"><PropertyGroup><TargetFramework>net10.0</TargetFramework></PropertyGroup><ItemGroup>'
    for package; do echo "<PackageReference Include=\"$package\" VersionOverride=\"[$(package_version "$package")]\" />"; done
    echo '</ItemGroup></Project>'
  } >"$probe/probe.csproj"
  (cd "$probe" && MSBUILDDISABLENODEREUSE=1 timeout --foreground --kill-after=10 "$seconds" dotnet restore probe.csproj -v quiet \
    -p:ImportDirectoryBuildProps=false -p:ImportDirectoryBuildTargets=false) >"$probe/log" 2>&1 9>&- || code=$?
  [ $code -ne 0 ] || return 0
  because="the NuGet feeds don't answer"
  if [ $code -eq 124 ]; then
    because="the NuGet feeds gave no $* within $seconds s"
  elif package=$(grep -oE 'NU110[12]: Unable to find package [A-Za-z0-9.-]+' "$probe/log" | head -n 1 | sed 's/.* //; s/\.$//') && [ -n "$package" ]; then
    version=$(package_version "$package")
    because="the NuGet feeds have no $package${version:+ $version}"
  elif package=$(grep -oE 'error[^:]*: .*' "$probe/log" | head -n 1) && [ -n "$package" ]; then
    because="restoring $* failed ($package)"
  fi
  return 1
}

nuget_has_torch() {
  if [ "$(uname -sm)" != "Linux x86_64" ]; then
    because="TorchSharp's packages for Linux are for x86_64 only"
    return 1
  fi
  echo "Asking the NuGet feeds for TorchSharp $(package_version TorchSharp)"
  feeds_have $nuget_seconds TorchSharp || return 1
  if [ "$device" = cuda ]; then
    echo "Restoring libtorch with CUDA; the first time, this downloads several GB"
    feeds_have $download_seconds TorchSharp-cuda-linux
  else
    echo "Restoring libtorch; the first time, this downloads some hundred MB"
    feeds_have $download_seconds TorchSharp libtorch-cpu
  fi
}

# --- Debian ---

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  as_root=(sudo)
  [ -t 0 ] || as_root=(sudo -n) # nobody there to type a password
fi

can_install() { command -v apt-get >/dev/null && { [ ${#as_root[@]} -eq 0 ] || "${as_root[@]}" true 2>/dev/null 9>&-; }; }

apt_get() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=300 "$@" >>"$log" 2>&1 9>&-
}

# apt-get waits for another apt-get's package lock, but not for its lock on the lists.
apt_update() {
  local tries
  for tries in {1..60}; do
    apt_get update && return
    tail -n 5 "$log" | grep -q 'Could not get lock' || return 1
    [ "$tries" -eq 60 ] || sleep 5
  done
  return 1
}

candidate() { LC_ALL=C apt-cache policy "$1" | awk '$1 == "Candidate:" && $2 != "(none)" { print $2 }'; }

install_packages() {
  log=$(mktemp "$root/obj/apt-get.XXXXXX.log")
  echo "Installing $* through apt-get"
  if [ -z "$(candidate "$1")" ]; then apt_update || true; fi
  case " $* " in *" libtorch-dev "*)
    local version
    version=$(candidate libtorch-dev)
    [ -n "$version" ] || { no_torch "there is no package libtorch-dev for this machine (log: $log)"; }
    at_least "$version" $oldest_torch || no_torch "this system's libtorch-dev is $version, and $oldest_torch is the oldest that works" ;;
  esac
  # Lists gone stale name files that are no longer there: hence once more after an update.
  apt_get install --no-install-recommends "$@" || { apt_update && apt_get install --no-install-recommends "$@"; } ||
    { tail -n 5 "$log" >&2; return 1; }
  rm -f "$log"
}

require_packages() {
  can_install || fail "$* is missing. As root: apt-get install $* (or what your system calls it)"
  install_packages "$@" || fail "apt-get could not install $*; its output is in $log"
}

no_torch() {
  cat >&2 <<EOF
setup.sh: no Torch to build with: $1.
Any one of these gives one; run scripts/setup.sh again afterwards:
  on Debian, as root:   apt-get install libtorch-dev libopenblas0-pthread g++
  with Python:          pip install torch
  libtorch from elsewhere, unpacked, version $oldest_torch or later:   scripts/setup.sh --torch-home DIR
  a NuGet feed that has TorchSharp $(package_version TorchSharp) and libtorch-cpu $(package_version libtorch-cpu):   dotnet nuget add source URL
EOF
  exit 1
}

has_fast_blas() {
  local blas
  for blas in "/usr/lib/$(uname -m)-linux-gnu/libblas.so.3" /usr/lib64/libblas.so.3; do
    case $(readlink -f "$blas" 2>/dev/null) in *openblas* | *mkl* | *blis*) return 0 ;; esac
  done
  return 1
}

# --- the decision ---

choose_system() {
  local packages=() problem version kind
  if [ -n "$home" ]; then
    problem=$(problem_with "$home") || fail "$problem"
  elif ! home=$(find_libtorch); then
    [ "$device" != cuda ] || no_torch "no libtorch with CUDA found here, and ${because:-the system provider was asked for}"
    can_install || no_torch "${because:+$because, }no libtorch is here, and installing one takes apt-get and root (or sudo)"
    install_packages libtorch-dev libopenblas0-pthread g++ || fail "apt-get could not install libtorch-dev; its output is in $log"
    home=/usr
    problem=$(problem_with "$home") || fail "$problem"
  fi
  command -v "${CXX:-g++}" >/dev/null || packages+=(g++)
  [ ${#packages[@]} -eq 0 ] || require_packages "${packages[@]}"
  if [ "$home" = /usr ] && ! has_fast_blas; then
    if ! { can_install && install_packages libopenblas0-pthread; }; then
      echo "Without OpenBLAS a matrix product takes about ten times as long. As root: apt-get install libopenblas0-pthread" >&2
    fi
  fi

  version=$(torch_version "$home")
  kind=CPU
  if has_cuda "$home"; then kind=CUDA; fi
  write_choice "<TorchProvider>system</TorchProvider><TorchHome>$(escape "$home")</TorchHome>"
  echo "Torch: system, libtorch $version ($kind) in $home, because ${because:-it was asked for}."
  if [ $kind = CPU ] && gpu_here; then
    echo "There is a GPU, but this libtorch is without CUDA: training runs on the CPU. A Python's torch with CUDA, or --torch-home, and --force change that."
  fi
}

choose_nuget() {
  write_choice "<TorchProvider>nuget</TorchProvider><TorchDevice>${device:-cpu}</TorchDevice>"
  echo "Torch: nuget, TorchSharp $(package_version TorchSharp) for ${device:-cpu}, because the NuGet feeds have it."
}

gpu_here() { command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; }

escape() { printf '%s' "$1" | sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g'; }

write_choice() {
  printf '<Project><PropertyGroup>%s</PropertyGroup></Project>\n' "$1" >"$choice.$$.tmp"
  mv "$choice.$$.tmp" "$choice"
}

# Succeeds, and says what it is, where a choice was made that still holds.
already_chosen() {
  local chosen_home
  case $(chosen TorchProvider) in
    nuget) echo "Torch: nuget, for $(chosen TorchDevice); chosen before, --force decides anew." ;;
    system)
      chosen_home=$(chosen TorchHome)
      library_folder "$chosen_home" >/dev/null || return 1
      echo "Torch: system, libtorch in $chosen_home; chosen before, --force decides anew."
      [ -z "${TORCH_HOME:-}" ] || [ "$TORCH_HOME" = "$chosen_home" ] || echo "While TORCH_HOME is set, builds take the libtorch in $TORCH_HOME."
      ;;
    *) return 1 ;;
  esac
}

anew=0
while [ $# -gt 0 ]; do
  anew=1
  case $1 in
    -h | --help) usage; exit 0 ;;
    --force) ;;
    --provider=* | --torch-home=* | --device=*) set -- "${1%%=*}" "${1#*=}" "${@:2}"; continue ;;
    --provider | --torch-home | --device)
      [ -n "${2-}" ] || wrong_usage "$1 needs a value"
      case $1 in --provider) provider=$2 ;; --torch-home) home=$2 ;; --device) device=$2 ;; esac
      shift ;;
    *) wrong_usage "what is $1?" ;;
  esac
  shift
done
case $provider in nuget | system | '') ;; *) wrong_usage "--provider is nuget or system, not $provider" ;; esac
case $device in cpu | cuda | '') ;; *) wrong_usage "--device is cpu or cuda, not $device" ;; esac
[ -z "$home" ] || [ "$provider" != nuget ] || wrong_usage "--torch-home goes with --provider system"

require_dotnet
if [ $anew -eq 0 ] && already_chosen; then exit 0; fi
lock
if [ $anew -eq 0 ] && already_chosen; then exit 0; fi # another setup.sh was quicker

if [ -n "$home" ]; then
  provider=system
elif [ -n "${TORCH_HOME:-}" ] && [ "$provider" != nuget ]; then
  provider=system home=$TORCH_HOME because="TORCH_HOME names it"
fi
if [ -n "$home" ]; then
  [ -d "$home" ] || fail "there is no folder $home"
  home=$(cd -- "$home" >/dev/null && pwd)
  if is_debians "$home"; then home=/usr; fi
fi

wanted=$device
if [ "$provider" != system ]; then
  if [ -z "$device" ] && gpu_here; then device=cuda; fi
  if nuget_has_torch; then
    choose_nuget
    exit 0
  fi
  [ "$provider" != nuget ] || fail "$because"
  device=$wanted
fi
choose_system
