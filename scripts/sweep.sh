#!/usr/bin/env bash
# Trains the runs of a sweep that are missing, after whatever set-up and building is missing.
#
#   scripts/sweep.sh SWEEP [--jobs N] [--shard I/N] [--device auto|cpu|cuda] [--set KEY=VALUE]… [--out FOLDER] [--dry-run]
#
#   scripts/sweep.sh experiments/table1/sweep.json --dry-run    # lists the runs and how long they would take
#   scripts/sweep.sh experiments/table1/sweep.json --shard 1/4  # a quarter of them; three more machines do the rest
#
# A sweep is a JSON file: a base configuration, and axes whose every combination is a run for each seed. The same command
# again goes on where an interruption came, and several may share a sweep. On a Slurm cluster: scripts/slurm/sweep.sbatch.
#
# All arguments go to `Trainer sweep`; `scripts/sweep.sh SWEEP --help` says what each is.
# Exit codes: 0 done, 1 a run failed, 2 the arguments or the sweep are wrong, 130 interrupted.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

require_arguments "$@"
run_trainer sweep "$@"
