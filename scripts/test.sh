#!/usr/bin/env bash
# Builds everything and runs all tests. The last line sums them up: `12 passed, 0 failed`.
#
#   scripts/test.sh [--filter EXPRESSION] [any other option of dotnet test]…
#
#   scripts/test.sh --filter FullyQualifiedName~Checkpoint
#
# Some tests take a browser, PostgreSQL with pgvector, npm or Slurm, and are skipped without. Where CI is set they fail
# instead, and this installs what is missing first, as root on a Debian.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
case ${1-} in -h | --help) usage; exit 0 ;; esac

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

# What tests need beside the SDK. What can't be had is said here, and by the tests that fail for it.
install_for_tests() {
  local postgres=$root/tests/pgvector-server/native.sh
  command -v npm || { echo "Installing npm" >&3 && install_packages npm >&3; }
  [ -n "${CHROMIUM-}" ] || command -v chromium || { echo "Installing Chromium" >&3 && install_packages chromium >&3; }
  command -v sbatch || { echo "Installing Slurm" >&3 && install_packages slurm-wlm munge >&3; }
  "$postgres" present || { echo "Installing PostgreSQL" >&3 && "$postgres" install >&3; }
} 3>&1 >/dev/null

mkdir -p "$root/obj"
installing=''
# Beside the build, which takes longer.
if [ -n "${CI-}" ]; then (set +e; install_for_tests) & installing=$!; fi
echo "Building"
if ! build EmtTorch.sln; then failed=1; fi
if [ -n "$installing" ]; then wait "$installing" || true; fi
if [ $failed -gt 0 ]; then finish; fi

results=$(mktemp -d "$root/obj/test-results.XXXXXX")
trap 'rm -rf "$results"' EXIT

for project in "$root"/tests/*.Tests/*.csproj; do
  name=$(basename -- "$project" .csproj) code=0
  echo
  echo "$name"
  dotnet test "$project" -c Release --no-build --nologo --logger "console;verbosity=normal" \
    --logger "trx;LogFileName=$name.trx" --results-directory "$results" "$@" |
    sed -u '/^Results File: /d' | tee "$results/$name.log" || code=$?
  read -r total executed ok bad < <(
    { cat "$results/$name.trx" 2>/dev/null || true; } | tr '\n' ' ' | grep -o '<Counters [^>]*' |
      awk '{ for (i = 2; i <= NF; i++) if (split($i, pair, /="?|"/) > 1) n[pair[1]] = pair[2] }
        END {
          bad = n["failed"] + n["error"] + n["timeout"] + n["aborted"]
          print n["total"] + 0, n["executed"] + 0, n["passed"] + 0, bad
        }'
  )
  awk '/^  Failed / { told = 1 } /^  (Passed|Skipped) |^Test Run / { told = 0 } told' "$results/$name.log" \
    >>"$results/failed"
  if [ "$code" -ne 0 ] && [ "$bad" -eq 0 ]; then
    echo "$name did not come to its end (dotnet test: exit code $code)"
    bad=1
  fi
  passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + total - executed))
done

echo
if [ $((passed + failed)) -eq 0 ]; then echo "No test ran."; fi
finish
