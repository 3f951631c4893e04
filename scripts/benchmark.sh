#!/usr/bin/env bash
# This project beside libtorch's own nn.RNN and operators, in turn: tables of medians and ratios, in experiments/benchmarks/.
#
#   scripts/benchmark.sh [--full] [--only steps|scan|transformer|generation|mixing|run|sweep] [--out FOLDER]
#
#   --full     more processes, and whole runs of 20,000 steps in place of short ones: hours
#   --only     one part: training steps at H = 32 to 512, fast weights through a sequence, transformers'
#              steps, generation, blocks of each kind by length, a whole run of T4, a sweep of 20 seeds
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
case ${1-} in -h | --help) usage; exit 0 ;; esac

cd "$root"
build_trainer
build tests/Benchmarks
exec dotnet tests/Benchmarks/bin/Release/net10.0/Benchmarks.dll compare "$@"
