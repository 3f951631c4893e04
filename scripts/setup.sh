#!/usr/bin/env bash
# Gets a checkout ready: looks for the .NET 10 SDK, fetches the packages, and says what trains: the CPU or a GPU.
#
#   scripts/setup.sh [--device cpu|cuda]
#
#   --device cuda   libtorch with CUDA from now on, for Linux with an NVIDIA GPU: several GB; --device cpu goes back
#
# Not a condition: `dotnet run --project Trainer -- configs/repeat_copy.json` and `dotnet test` do without it.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

props=$root/TorchDevice.props device=''
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --device=*) device=${1#*=} ;;
    --device) device=${2-} && shift ;;
    *) wrong_usage "what is $1?" ;;
  esac
  case $device in cpu | cuda) ;; *) wrong_usage "--device is cpu or cuda, not '$device'" ;; esac
  shift
done

require_dotnet
lock
cd "$root"
if [ -z "$device" ]; then
  device=cpu
  if grep -qs '<TorchDevice>cuda<' "$props"; then device=cuda; fi
fi
size='some hundred MB'
if [ $device = cuda ]; then size='several GB'; fi
echo "Fetching the packages (the first time $size)"
dotnet_quietly restore EmtTorch.sln "-p:TorchDevice=$device" || fail "the packages for $device can't be had"

if [ $device = cuda ]; then
  echo '<Project><PropertyGroup><TorchDevice>cuda</TorchDevice></PropertyGroup></Project>' >"$props.tmp"
  mv "$props.tmp" "$props"
else
  rm -f "$props"
fi
echo "Ready: .NET SDK $(dotnet --version), libtorch for $device."
if [ $device = cpu ] && command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then
  echo "There is a GPU. To train on it: scripts/setup.sh --device cuda"
fi
