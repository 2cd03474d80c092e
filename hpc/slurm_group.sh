#!/usr/bin/env bash
# The group level over all participants, when the job array has ended. hpc/submit.sh submits it.
#SBATCH --job-name=bids_cascade_group
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
#SBATCH --time=00:30:00
set -euo pipefail

exec ${BIDS_CASCADE:-bids-cascade} "$1" "$2" group
