#!/usr/bin/env bash
# Builds everything and runs all tests. The last line sums them up: `12 passed, 0 failed`.
#
#   scripts/test.sh [--filter EXPRESSION] [any other option of dotnet test]…
#
#   scripts/test.sh --filter FullyQualifiedName~Checkpoint
#
#   --api-check TOOL LISTING   count scripts/api_check.sh among the tests, where the provider is system; must come first
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

api_check=()
case ${1-} in
  -h | --help) usage; exit 0 ;;
  --api-check)
    [ $# -ge 3 ] || wrong_usage "--api-check needs TOOL and LISTING"
    api_check=("$2" "$3")
    shift 3 ;;
esac

passed=0 failed=0 skipped=0 results=""
finish() {
  # Once more, where they are found.
  if [ -s "$results/failed" ]; then echo "Failed tests:" && cat "$results/failed" && echo; fi
  local line="$passed passed, $failed failed"
  [ "$skipped" -eq 0 ] || line+=", $skipped skipped"
  echo "$line"
  if [ "$failed" -gt 0 ] || [ "$passed" -eq 0 ]; then exit 1; fi
  exit 0
}

if ! { ensure_setup && echo "Building" && build EmtTorch.sln; }; then
  failed=1
  finish
fi

if [ ${#api_check[@]} -gt 0 ] && [ "$(chosen TorchProvider)" = system ]; then
  if "$root/scripts/api_check.sh" "${api_check[@]}"; then passed=1; else failed=1; fi
fi

mkdir -p "$root/obj"
results=$(mktemp -d "$root/obj/test-results.XXXXXX")
trap 'rm -rf "$results"' EXIT

for project in "$root"/tests/*.Tests/*.csproj; do
  [ -e "$project" ] || continue
  name=$(basename -- "$project" .csproj) code=0
  echo
  echo "$name"
  dotnet test "$project" -c Release --no-build --nologo --logger "console;verbosity=normal" \
    --logger "trx;LogFileName=$name.trx" --results-directory "$results" "$@" | sed -u '/^Results File: /d' | tee "$results/$name.log" || code=$?
  read -r total executed ok bad < <(
    { cat "$results/$name.trx" 2>/dev/null || true; } | tr '\n' ' ' | grep -o '<Counters [^>]*' |
      awk '{ for (i = 2; i <= NF; i++) if (split($i, pair, /="?|"/) > 1) n[pair[1]] = pair[2] }
        END { print n["total"] + 0, n["executed"] + 0, n["passed"] + 0, n["failed"] + n["error"] + n["timeout"] + n["aborted"] + 0 }'
  )
  awk '/^  Failed / { told = 1 } /^  (Passed|Skipped) |^Test Run / { told = 0 } told' "$results/$name.log" >> "$results/failed"
  if [ "$code" -ne 0 ] && [ "$bad" -eq 0 ]; then
    echo "$name did not come to its end (dotnet test: exit code $code)"
    bad=1
  fi
  passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + total - executed))
done

echo
if [ $((passed + failed)) -eq 0 ]; then echo "No test ran."; fi
finish
