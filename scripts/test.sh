#!/usr/bin/env bash
# Builds everything and runs the tests, layer by layer. The last line sums them up: `12 passed, 0 failed`.
#
#   scripts/test.sh [LAYER]… [--filter EXPRESSION] [any other option of dotnet test]…
#
#   scripts/test.sh unit
#   scripts/test.sh --filter FullyQualifiedName~Checkpoint
#
# The layers:
#   unit        all that is in no other layer
#   reference   against numbers that other programs recorded
#   process     the command line as a user runs it, interrupted and killed
#   external    with PostgreSQL, npm, Slurm and Chromium
#   slow        what takes long by nature
# Without a layer all are run, or, where there is a filter, the tests that it names in whatever layer.
#
# An external test is skipped where what it needs is missing. Where CI is set it fails instead, and this script installs
# what is missing first, as root on a Debian.
#
# Two projects are tested side by side, or as many as EMTTORCH_TEST_JOBS says. Tests of one project share a process, and
# with it libtorch's random generator, threads and memory, and the choice of kernels: they run one at a time, except
# those of the command line.
#
# Tests write into memory where the system has room for that: they make many checkpoints, and each is flushed to disk.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
case ${1-} in -h | --help) usage; exit 0 ;; esac

all_layers=(unit reference process external slow)
layers=() filter='' options=()
while [[ " ${all_layers[*]} " == *" ${1-} "* ]]; do layers+=("$1") && shift; done
while [ $# -gt 0 ]; do
  case $1 in
    --) options+=("$@") && break ;;
    --filter) filter=${2?--filter needs an expression} && shift ;;
    --filter[=:]*) filter=${1#--filter?} ;;
    *) options+=("$1") ;;
  esac
  shift
done
if [ ${#layers[@]} -eq 0 ]; then
  # One pass over all layers has no name.
  if [ -n "$filter" ]; then layers=(''); else layers=("${all_layers[@]}"); fi
fi
side_by_side=${EMTTORCH_TEST_JOBS:-2}

passed=0 failed=0 skipped=0 results=""
finish() {
  # Once more, where they are found.
  if [ -s "$results/failed" ]; then echo "Failed tests:" && cat "$results/failed" && echo; fi
  [ ! -s "$results/times" ] || { cat "$results/times" && echo; }
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

# has_layer LAYER PROJECT: whether any of its tests is in that layer.
has_layer() {
  case $1 in
    '' | unit) true ;;
    *) grep -rqi --include='*.cs' --exclude-dir=bin --exclude-dir=obj "Layer\.$1" "${2%/*}" ;;
  esac
}

# The tests of a layer, as dotnet test's --filter takes it, of those that the user's filter names.
filter_of() {
  local layer expression=''
  case $1 in
    '') ;;
    unit) for layer in "${all_layers[@]:1}"; do expression+="${expression:+&}TestCategory!=$layer"; done ;;
    *) expression=TestCategory=$1 ;;
  esac
  if [ -n "$filter" ]; then expression="($filter)${expression:+&($expression)}"; fi
  echo "$expression"
}

# test_project LAYER PROJECT: tells its tests, and leaves in $results what came of them, for count.
test_project() {
  local name at code=0 those
  name=$(basename -- "$2" .csproj) at=$results/$1.$name those=$(filter_of "$1")
  echo "$name${1:+, $1}"
  # The assembly, not the project: MSBuild would evaluate that anew for each layer.
  dotnet test "${2%/*}/bin/Release/net10.0/$name.dll" --nologo --logger "console;verbosity=normal" \
    --logger "trx;LogFileName=$1.$name.trx" --results-directory "$results" ${those:+--filter "$those"} \
    ${options[@]+"${options[@]}"} | sed -u '/^Results File: /d' | tee "$at.log" || code=$?
  echo
  echo "$code" >"$at.code"
}

# count LAYER PROJECT: adds what came of it to the sums.
count() {
  local name at code total executed ok bad
  name=$(basename -- "$2" .csproj) at=$results/$1.$name code=$(cat "$results/$1.$name.code" || echo 1)
  read -r total executed ok bad < <(
    { cat "$at.trx" 2>/dev/null || true; } | tr '\n' ' ' | grep -o '<Counters [^>]*' |
      awk '{ for (i = 2; i <= NF; i++) if (split($i, pair, /="?|"/) > 1) n[pair[1]] = pair[2] }
        END {
          bad = n["failed"] + n["error"] + n["timeout"] + n["aborted"]
          print n["total"] + 0, n["executed"] + 0, n["passed"] + 0, bad
        }'
  )
  awk '/^  Failed / { told = 1 } /^  (Passed|Skipped) |^Test Run / { told = 0 } told' "$at.log" >>"$results/failed"
  if [ "$code" -ne 0 ] && [ "$bad" -eq 0 ]; then
    echo "$name did not come to its end (dotnet test: exit code $code)"
    bad=1
  fi
  passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + total - executed))
}

# test_side_by_side LAYER PROJECT…: each tells its tests when it has ended.
test_side_by_side() {
  local layer=$1 project
  shift
  for project; do
    while [ "$(jobs -pr | wc -l)" -ge "$side_by_side" ]; do wait -n || true; tell_ended; done
    set -m # a group of its own, which can be ended whole
    test_project "$layer" "$project" >"$results/$layer.$(basename -- "$project" .csproj).told" &
    set +m
  done
  while [ -n "$(jobs -pr)" ]; do wait -n || true; tell_ended; done
  tell_ended
}

tell_ended() {
  local told
  for told in "$results"/*.told; do
    if [ -e "${told%.told}.code" ]; then cat "$told" && rm "$told"; fi
  done
}

test_layer() {
  local project projects=() start=$SECONDS before=$((passed + failed))
  for project in "$root"/tests/*.Tests/*.csproj; do
    has_layer "$1" "$project" || continue
    case $project in
      # The largest first: at the end it would run on alone.
      */EmtTorch.Tests.csproj) projects=("$project" ${projects[@]+"${projects[@]}"}) ;;
      *) projects+=("$project") ;;
    esac
  done
  case ${#projects[@]} in
    0) return ;;
    1) test_project "$1" "${projects[0]}" ;;
    *) test_side_by_side "$1" "${projects[@]}" ;;
  esac
  for project in "${projects[@]}"; do count "$1" "$project"; done
  [ -z "$1" ] ||
    printf '%-10s %5d tests %5d s\n' "$1" $((passed + failed - before)) $((SECONDS - start)) >>"$results/times"
}

mkdir -p "$root/obj"
installing=''
# Beside the build, which takes longer.
if [ -n "${CI-}" ]; then (set +e; install_for_tests) & installing=$!; fi
echo "Building"
if ! build EmtTorch.sln; then failed=1; fi
if [ -n "$installing" ]; then wait "$installing" || true; fi
if [ $failed -gt 0 ]; then finish; fi
echo

results=$(mktemp -d "$root/obj/test-results.XXXXXX") in_memory=''
trap 'for job in $(jobs -pr); do kill -- "-$job" 2>/dev/null; done; rm -rf "$results" "$in_memory"' EXIT
# Some GiB are free, in KiB.
if [ -z "${TMPDIR-}" ] && [ "$(df -Pk /dev/shm 2>/dev/null | awk 'END { print $4 + 0 }')" -gt $((4 << 20)) ]; then
  in_memory=$(mktemp -d /dev/shm/emttorch-tests.XXXXXX)
  chmod 755 "$in_memory" # PostgreSQL runs as a user of its own
  export TMPDIR=$in_memory
fi
# Most of what runs here runs briefly: code is not worth being measured before it is compiled.
export DOTNET_TieredPGO=0
for layer in "${layers[@]}"; do test_layer "$layer"; done
if [ $((passed + failed)) -eq 0 ]; then echo "No test ran."; fi
finish
