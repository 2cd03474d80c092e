#!/usr/bin/env bash
# Submit a dataset to Slurm: a job array with one participant a task, then the group level. The same command again
# submits only the participants that have no results yet.
#
#     hpc/submit.sh [--gpu] BIDS_DIR OUTPUT_DIR [option of bids-cascade ...]
#
# BIDS_CASCADE is how the app is started, by default `bids-cascade`; see docs/hpc.md. Account, partition and the like
# are sbatch's own variables: SBATCH_ACCOUNT, SBATCH_PARTITION, SBATCH_TIMELIMIT, ...
set -euo pipefail

resources=()
if [ "${1:-}" = --gpu ]; then
    resources=(--gres=gpu:1)
    shift
fi
if [ $# -lt 2 ]; then
    echo "usage: $0 [--gpu] BIDS_DIR OUTPUT_DIR [option of bids-cascade ...]" >&2
    exit 64
fi
if [ ! -d "$1" ]; then  # before anything is made
    echo "$0: no such folder: $1; give the root folder of a BIDS dataset" >&2
    exit 16
fi
scripts=$(cd "$(dirname "$0")" && pwd)
bids_dir=$(realpath "$1")
mkdir -p "$2/logs"
output_dir=$(realpath "$2")
shift 2

list=$output_dir/logs/participants_$(date +%Y%m%dT%H%M%S)_$$.txt
${BIDS_CASCADE:-bids-cascade} "$bids_dir" "$output_dir" participant --list-participants unfinished "$@" >"$list"
n_participants=$(grep -c . "$list" || true)

dependency=()
if [ "$n_participants" -gt 0 ]; then
    # The dataset has just been validated as a whole; each task need not do it again.
    array=$(sbatch --parsable --array="1-$n_participants" --output="$output_dir/logs/slurm-%A_%a.txt" "${resources[@]}" \
        "$scripts/slurm_array.sh" "$list" "$bids_dir" "$output_dir" --skip-bids-validation "$@")
    dependency=(--dependency="afterany:${array%%;*}")
    echo "participants: $n_participants, in job array ${array%%;*}"
else
    echo "participants: none is left to process"
fi
group=$(sbatch --parsable --output="$output_dir/logs/slurm-%j_group.txt" "${dependency[@]}" \
    "$scripts/slurm_group.sh" "$bids_dir" "$output_dir")
echo "group: job ${group%%;*}"
