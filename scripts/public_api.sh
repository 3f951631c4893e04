#!/usr/bin/env bash
# Writes what the libraries show to their users, one line a member, into src/*/PublicAPI.Shipped.txt. Run it after a
# change of the public surface, and read the difference before you commit it.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
case ${1-} in -h | --help) usage; exit 0 ;; esac
require_dotnet
cd "$root"
for project in EmtTorch EmtTorch.Analysis EmtTorch.Studies EmtTorch.Reports; do
  for list in Shipped Unshipped; do echo '#nullable enable' >"src/$project/PublicAPI.$list.txt"; done
  # With empty lists the analyzer names all members. CI is unset, so that it warns and the next project can build.
  env -u CI dotnet build "src/$project" -c Release --no-incremental --no-dependencies -v quiet |
    sed -n "s/.*warning RS0016: Symbol '\(.*\)' is not part of the declared public API.*/\1/p" |
    LC_ALL=C sort -u >>"src/$project/PublicAPI.Shipped.txt"
  echo "src/$project/PublicAPI.Shipped.txt: $(($(wc -l <"src/$project/PublicAPI.Shipped.txt") - 1)) members"
done
