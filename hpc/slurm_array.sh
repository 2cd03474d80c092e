#!/usr/bin/env bash
# One participant of a job array: the one on the line of the list that has the task's number. hpc/submit.sh submits it.
#SBATCH --job-name=bids_cascade
#SBATCH --cpus-per-task=2
#SBATCH --mem=8G
#SBATCH --time=01:00:00
set -euo pipefail

list=$1 bids_dir=$2 output_dir=$3
shift 3
label=$(sed -n "${SLURM_ARRAY_TASK_ID}p" "$list")
if [ -z "$label" ]; then
    echo "$list: there is no participant on line $SLURM_ARRAY_TASK_ID" >&2
    exit 66
fi

# The app reads its limits from the job; --cleanenv of Apptainer and Singularity would keep them from it.
case ${BIDS_CASCADE:-} in
singularity\ *) prefix=SINGULARITYENV ;;
*) prefix=APPTAINERENV ;;
esac
for name in SLURM_CPUS_PER_TASK SLURM_CPUS_ON_NODE SLURM_MEM_PER_NODE SLURM_MEM_PER_CPU CUDA_VISIBLE_DEVICES; do
    if [ -n "${!name+set}" ]; then
        export "${prefix}_$name=${!name}"
    fi
done

# Unquoted: it may be several words, such as "apptainer run ... bids_cascade.sif". The label is last, and so overrules
# those from which the list was made.
exec ${BIDS_CASCADE:-bids-cascade} "$bids_dir" "$output_dir" participant "$@" --participant-label "$label"
