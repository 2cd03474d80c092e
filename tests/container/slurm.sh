# shellcheck shell=bash disable=SC2154
# A Slurm of one node, made for this: job array, group job, resubmission, GPU, SLURMGraph. Sourced by run.sh.

echo "== As Slurm runs it"

# Start munged, slurmctld and slurmd with files of their own in $1; Slurm's other commands find them by SLURM_CONF.
start_slurm() {
    local folder=$1 host
    host=$(hostname -s)
    mkdir -p "$folder/state" "$folder/spool"
    dd if=/dev/urandom of="$folder/munge.key" bs=128 count=8 status=none
    chmod 400 "$folder/munge.key"
    munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
        --log-file="$folder/munged.log" --seed-file="$folder/munge.seed"
    cat >"$folder/slurm.conf" <<END
ClusterName=tests
SlurmctldHost=$host
SlurmctldAddr=127.0.0.1
SlurmUser=root
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
MinJobAge=86400
NodeName=$host NodeAddr=127.0.0.1 CPUs=$processors RealMemory=$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) / 1024 - 1024)) Gres=gpu:1 State=UNKNOWN
PartitionName=tests Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
    # Any device does for Slurm's part: handing it out and saying so in CUDA_VISIBLE_DEVICES.
    echo "NodeName=$host Name=gpu File=/dev/null" >"$folder/gres.conf"
    export SLURM_CONF=$folder/slurm.conf
    slurmctld && slurmd
    for _ in $(seq 60); do
        sinfo --noheader --format %t 2>/dev/null | grep -q idle && return
        sleep 1
    done
    tail "$folder"/*.log
    return 1
}

stop_slurm() {
    local name
    for name in slurmd slurmctld munged; do
        { kill "$(cat "$SCRATCH/slurm/$name.pid")"; } 2>/dev/null
    done
}

# Wait, at most half an hour, until no job is left.
wait_for_jobs() {
    local _
    for _ in $(seq 900); do
        [ -n "$(squeue --noheader)" ] || return 0
        sleep 2
    done
    squeue
    return 1
}

# submit OPTION ...: the documented command, with more options before the folders, and wait for its jobs.
submit() {
    local command
    command=$(block docs/hpc.md slurm)
    (cd "$SCRATCH" && ln -sfn "$repository/hpc" hpc &&
        PATH="$bin:$PATH" bash -euo pipefail -c "${command/hpc\/submit.sh/hpc/submit.sh $*}") && wait_for_jobs
}

# have_results FOLDER PARTICIPANT ...: these and no others.
have_results() {
    local folder=$1
    shift
    same "$(find "$folder" -name '*_desc-lesions_stats.tsv' -printf '%f\n' | sed 's/^sub-\([^_]*\)_.*/\1/' | sort | xargs)" "$*"
}

if ! command -v slurmctld munged slurmd >/dev/null || [ "$(id -u)" != 0 ] || [ ! -f "$SCRATCH/bids_cascade.sif" ]; then
    skip "Slurm: needs slurm-wlm, munge, root, and the image for Apptainer"
    return 0
fi
trap stop_slurm EXIT
mkdir -p "$SCRATCH/slurm"
# shellcheck disable=SC2034
log=$SCRATCH/slurm.log began=$SECONDS
start_slurm "$SCRATCH/slurm" >"$log" 2>&1
report $? "a Slurm of one node is up"
cp -r "$data" "$SCRATCH/slurm_data"
data=$SCRATCH/slurm_data results=$SCRATCH/slurm_results work=$SCRATCH/slurm_work
mkdir -p "$results" "$work"
export IMITATED_UID=0

expect "three participants, of which one fails" 0 "participants: 3, in job array" submit
check "the other two have results" have_results "$results" 01 02
expect "the task of the third says why" 0 sub-03_FLAIR.nii.gz grep -rh "FAILED" "$results/logs"
check "the app took two processors, as Slurm granted" used n_procs 2 "$results"
check "the app took 90 % of the memory that Slurm granted" used mem_gb 7.7309411328 "$results"
if container "$image" --help | grep -q '{.*group'; then
    expect "the group job counts two" 0 "3 visits: 2 complete" cat "$results"/logs/slurm-*_group.txt
    expect "the group job names the third" 0 "sub-03" cat "$results"/logs/slurm-*_group.txt
else
    skip "the group job: this version has no group level"
fi
expect "the same again submits only the one that failed" 0 "participants: 1, in job array" submit
check "which fails again" have_results "$results" 01 02
for sequence in T1w FLAIR; do
    cp "$data/sub-02/anat/sub-02_$sequence.nii.gz" "$data/sub-03/anat/sub-03_$sequence.nii.gz"
done
expect "when it is mended, on a node with a GPU" 0 "participants: 1, in job array" submit --gpu
check "all have results" have_results "$results" 01 02 03
expect "Slurm handed the GPU out" 0 gres:gpu:1 scontrol show job
expect "then nothing is left to submit" 0 "none is left to process" submit

PYTHON=${PYTHON:-python3}
if (cd "$repository" && "$PYTHON" -c 'import bids_cascade.cli, nipype, torch') 2>/dev/null; then
    printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$(command -v "$PYTHON")" "$repository/run.py" >"$bin/bids-cascade"
    chmod +x "$bin/bids-cascade"
    export PYTHONPATH=$repository
    results=$SCRATCH/graph_results work=$SCRATCH/graph_work
    dd if=/dev/zero of="$data/sub-03/anat/sub-03_FLAIR.nii.gz" bs=1k seek=20 count=40 conv=notrunc status=none
    expect "docs: the list alone" 0 01 documented docs/hpc.md list "$repository"
    expect "docs: SLURMGraph hands all steps over" 75 "handed over to the batch system" \
        documented docs/hpc.md slurmgraph "$repository"
    check "its jobs end" wait_for_jobs
    check "the two good ones have results" have_results "$results" 01 02
    plain=$(block docs/hpc.md slurmgraph)
    expect "the same without --use-plugin names the third" 65 "2 of 3 visits done, 1 not" \
        env PATH="$bin:$PATH" bash -c "${plain%% --use-plugin*}"
else
    skip "SLURMGraph: bids_cascade can't be run by $PYTHON; name another in PYTHON"
fi
stop_slurm
