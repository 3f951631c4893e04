#!/usr/bin/env bash
# Trains T1–T4 (H = 128, seeds 1 to 5, 20,000 steps each) and reads their variable memories into results/.
#
#   experiments/variable_memories/run.sh [any option of training, such as --device cuda]…
#
# What is trained already is not trained again. Half an hour on two cores.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../../scripts/lib.sh"
case ${1-} in -h | --help) usage; exit 0 ;; esac

cd "$root"
runs=runs/variable_memories
for task in t1 t2 t3 t4; do "$root/scripts/sweep_seeds.sh" "configs/$task.json" 1 5 --out "$runs" "$@"; done
build_trainer
dotnet "$trainer" analyze "$runs"/*/seed-* --out experiments/variable_memories/results
