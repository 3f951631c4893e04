#!/usr/bin/env bash
# Checks that everything public in SystemTorch is TorchSharp's too, name by name.
#
#   scripts/api_check.sh TOOL LISTING
#
#   TOOL      the folder of a .NET project that is run with `check ASSEMBLY LISTING`
#   LISTING   TorchSharp's public API, a member a line
#
# Exit codes: 0 all of it is (or the provider is not system: nothing to check), 1 not, 2 the arguments are wrong.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

case ${1-} in -h | --help) usage; exit 0 ;; esac
[ $# -eq 2 ] || wrong_usage "TOOL and LISTING are needed"
[ -d "$1" ] || wrong_usage "there is no folder $1"
[ -f "$2" ] || wrong_usage "there is no file $2"

ensure_setup
if [ "$(chosen TorchProvider)" != system ]; then
  echo "API check: SystemTorch is not in use (the provider is nuget)."
  exit 0
fi
build src/SystemTorch
echo "API check: SystemTorch against TorchSharp"
dotnet run --project "$1" -- check "$root/src/SystemTorch/bin/Release/SystemTorch.dll" "$2" || exit 1
