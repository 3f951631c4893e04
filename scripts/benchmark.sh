#!/usr/bin/env bash
# This project beside PyTorch on the same work, in turn: a table of medians and ratios, in experiments/benchmarks/.
#
#   scripts/benchmark.sh [--full] [--only steps|scan|mixing|run|sweep] [--python python3] [--out FOLDER]
#
#   --full     more rounds, and whole runs of 20,000 steps in place of short ones: hours
#   --only     one part: single steps at H = 32 to 512, fast weights through a sequence, blocks of each kind by length, a whole run of T4, a sweep of 20 seeds
#   --python   a Python with torch; without one only this project is measured
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
case ${1-} in -h | --help) usage; exit 0 ;; esac

cd "$root"
build_trainer
build tests/Benchmarks
exec dotnet tests/Benchmarks/bin/Release/net10.0/Benchmarks.dll compare "$@"
