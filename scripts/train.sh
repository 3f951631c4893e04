#!/usr/bin/env bash
# Trains what a configuration says, after whatever set-up and building is missing.
#
#   scripts/train.sh CONFIG [--seed N] [--seeds 1-20] [--device auto|cpu|cuda] [--set KEY=VALUE]… [--out FOLDER] [--resume]
#
#   scripts/train.sh configs/repeat_copy.json --seed 3 --set training.steps=500
#
# All arguments go to Trainer; `scripts/train.sh CONFIG --help` lists the rest of them.
# Exit codes: 0 done, 1 the run failed, 2 the arguments or the configuration are wrong, 130 interrupted.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

require_arguments "$@"
run_trainer "$@"
