#!/usr/bin/env bash
# Trains xor over delays, dimensions and hidden units, 20,000 steps at most each, and reads what was learned into results/.
#
#   experiments/xor/run.sh [any option of training, such as --device cuda]…
#
# What is trained already is not trained again, and what was interrupted goes on. Half an hour on two cores.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../../scripts/lib.sh"
case ${1-} in -h | --help) usage; exit 0 ;; esac

cd "$root"
build_trainer
runs=runs/xor
train() { # NAME SEEDS [option]…
  dotnet "$trainer" configs/xor.json --out "$runs" --set "name=$1" --seeds "$2" --resume "${@:3}"
}
for delays in 1,2 1,3 2,3 1,4 2,4 3,4; do
  for d in 1 2 4; do
    train "delays-${delays/,/-}-d-$d" 1-5 --set "task={\"name\":\"xor\",\"d\":$d,\"s\":${delays#*,},\"delays\":[$delays]}" "$@"
  done
done
for hidden in 16 24 32 48; do train "hidden-$hidden" 1-3 --set "model.hidden_size=$hidden" "$@"; done
dotnet "$trainer" analyze "$runs"/delays-{1-2,1-3,2-3,2-4}-d-4/seed-{1,2} "$runs"/delays-3-4-d-1/seed-{1,2} "$runs"/delays-1-4-d-1/seed-1 \
  "$runs"/delays-3-4-d-4/seed-1 --out experiments/xor/results
dotnet "$trainer" table "$runs" --out experiments/xor/results/learned
