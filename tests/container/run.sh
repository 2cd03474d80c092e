#!/usr/bin/env bash
# Build the image from the Dockerfile and run it as Docker, Apptainer and Slurm would; see README.md beside this.
#
# ENGINE         docker or podman (default: docker, if its engine runs)
# BUILDER        what builds the image (default: "$ENGINE build"; with podman, buildah, which needs no engine)
# BUILD_OPTIONS  more options for it
# TORCH_BUILD    cpu (default) or cuda
# TORCH_OPTIONS  where pip finds the CPU build, such as "--index-url ..."
# REAL_DATA      BIDS dataset of whose visits one is processed (default: ../shared/data/longitudinal, if that is there)
# SCRATCH        where to work (default: a temporary folder); what is in it afterwards is for looking at
#
# With --write the result is kept in README.md.
set -uo pipefail
shopt -s lastpipe
umask 022 # an ordinary user reads what is made here

here=$(cd "$(dirname "$0")" && pwd)
repository=$(dirname "$(dirname "$here")")
ENGINE=${ENGINE:-$(docker info >/dev/null 2>&1 && echo docker || echo podman)}
if [ "$ENGINE" = podman ]; then
    BUILDER=${BUILDER:-buildah bud --isolation chroot --pull-never --layers}
else
    BUILDER=${BUILDER:-$ENGINE build}
fi
TORCH_BUILD=${TORCH_BUILD:-cpu}
REAL_DATA=${REAL_DATA:-$repository/../shared/data/longitudinal}
SCRATCH=${SCRATCH:-$(mktemp -d)}
LARGEST_CPU_IMAGE_MB=2500
image=bids_cascade
mkdir -p "$SCRATCH"
SCRATCH=$(realpath "$SCRATCH")
# mktemp makes folders that only their owner may enter; others get no further than what they are told of.
chmod go+rx "$SCRATCH"
# An ordinary user: the caller, whom the image doesn't know either; for root somebody else.
uid=$(id -u)
[ "$uid" != 0 ] || uid=4321

# nproc takes OpenMP's variables for its own.
processors=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)

n_passed=0 n_failed=0
results_of_all=() missing=()

# Say how a check went; a failed one shows the end of its log.
report() {
    local status=$1 name=$2
    if [ "$status" = 0 ]; then
        n_passed=$((n_passed + 1))
        results_of_all+=("passed|$name")
    else
        n_failed=$((n_failed + 1))
        results_of_all+=("FAILED|$name")
        tail -n 30 "$log" | sed 's/^/    | /'
    fi
    echo "$([ "$status" = 0 ] && echo passed || echo FAILED): $name ($((SECONDS - began)) s)"
}

# limited SECONDS COMMAND ...: run it, a function too, but end it when it takes longer; then the exit code is 143.
limited() {
    local seconds=$1 status=0 command watch
    shift
    set -m # each with a process group of its own, to be ended with all it has started
    "$@" </dev/null &
    command=$!
    (sleep "$seconds" && kill -TERM -- "-$command") >/dev/null 2>&1 &
    watch=$!
    set +m
    wait "$command" || status=$?
    kill -- "-$watch" 2>/dev/null
    return "$status"
}

# check NAME COMMAND ...: the command ends well.
check() {
    local name=$1
    shift
    log=$SCRATCH/$((n_passed + n_failed + 1)).log began=$SECONDS
    limited 1800 "$@" >"$log" 2>&1
    report $? "$name"
}

# expect NAME CODE TEXT COMMAND ...: the command ends within 20 minutes with that exit code and says that text.
expect() {
    local name=$1 code=$2 text=$3 status=0
    shift 3
    log=$SCRATCH/$((n_passed + n_failed + 1)).log began=$SECONDS
    limited 1200 "$@" >"$log" 2>&1
    status=$?
    if [ "$status" != "$code" ]; then
        echo "exit code $status instead of $code" >>"$log"
        report 1 "$name"
    elif ! grep -qF -- "$text" "$log"; then
        echo "not said: $text" >>"$log"
        report 1 "$name"
    else
        report 0 "$name"
    fi
}

skip() {
    results_of_all+=("skipped|$1")
    echo "skipped: $1"
}

# An empty folder that the ordinary user may write to.
own_folder() {
    mkdir -p "$1"
    [ "$(id -u)" != 0 ] || chown "$uid:$uid" "$1"
}

# Everything above a folder lets the ordinary user through, or says which folder doesn't.
is_reachable() {
    local folder=$1
    [ "$(id -u)" = 0 ] || return 0
    while [ "$folder" != / ]; do
        setpriv --reuid "$uid" --regid "$uid" --clear-groups test -x "$folder" ||
            { echo "user $uid may not enter $folder; name another SCRATCH" >&2; return 1; }
        folder=$(dirname "$folder")
    done
}
is_reachable "$SCRATCH" || exit 1

# What is not here is said at once, not by what fails for want of it.
for program in "$ENGINE" ${BUILDER%% *} setpriv; do
    command -v "$program" >/dev/null || missing+=("$program")
done
if [ -n "${missing[*]:-}" ]; then
    echo "needs ${missing[*]}: either Docker with its engine running, or what README.md beside this script lists" >&2
    exit 1
fi

# As Docker's --read-only: no network, nothing writable but what is mounted, not even /tmp, and a nameless user.
container() {
    local strict=(--read-only)
    [ "$ENGINE" != podman ] || strict+=(--read-only-tmpfs=false)
    "$ENGINE" run --rm "${strict[@]}" --network none --user "$uid:$uid" --cpus 2 "$@"
}
export -f container
export ENGINE uid image SCRATCH

same() {
    [ "$1" = "$2" ] || { echo "found '$1' instead of '$2'"; false; }
}

label_of() {
    "$ENGINE" inspect --format "{{ index .Config.Labels \"org.opencontainers.image.$1\" }}" "$image"
}

build() {
    local options
    read -ra options <<<"${BUILD_OPTIONS:-}"
    # shellcheck disable=SC2086
    $BUILDER "${options[@]}" --tag "$image" --build-arg TORCH_BUILD="$TORCH_BUILD" \
        --build-arg TORCH_OPTIONS="${TORCH_OPTIONS:-}" --build-arg VERSION="$(cat "$repository/version")" \
        --build-arg REVISION="$revision" --build-arg SOURCE="${SOURCE:-unknown}" "$repository"
}

is_small_enough() {
    local mb
    mb=$(($("$ENGINE" image inspect --format '{{.Size}}' "$image") / 1000000))
    echo "$mb MB"
    [ "$TORCH_BUILD" != cpu ] || [ "$mb" -lt "$LARGEST_CPU_IMAGE_MB" ]
}

# All outputs of these participants are there and belong to the user, and nothing half-written lies about.
has_outputs() {
    local folder=$1 participant name
    shift
    for participant in "$@"; do
        for name in '*_label-L_mask.nii.gz' '*_desc-lesions_stats.tsv'; do
            find "$folder/sub-$participant" -name "$name" | grep . || return 1
        done
    done
    ! find "$folder" ! -user "$uid" | grep . || return 1
    ! find "$folder" -path "$folder/work" -prune -o -name '.*.*' -name '*.nii.gz' -print | grep .
}

# Replace what follows the mark in README.md by this result.
write_result() {
    local page=$here/README.md kept
    kept=$(sed '/^<!-- last run -->$/q' "$page")
    {
        printf '%s\n\n' "$kept"
        echo "$(date --utc +%Y-%m-%d), version $(cat "$repository/version"), PyTorch build: $TORCH_BUILD; image: $size_mb;" \
            "run by $ENGINE, built by \`${BUILDER%% *}\`; $n_passed passed, $n_failed failed."
        printf '\n| check | result |\n|---|---|\n'
        printf '%s\n' "${results_of_all[@]}" | sed 's/^\([^|]*\)|\(.*\)$/| \2 | \1 |/'
    } >"$page"
}

used() {
    grep -h "\"$1\": $2,\$" "$3"/logs/*/options.json
}

revision=$(git -C "$repository" rev-parse HEAD 2>/dev/null || echo unknown)

if [ "$ENGINE" = podman ]; then
    echo "== A stand-in for the base image, where there is none and no registry is reached"
    podman image exists docker.io/library/python:3.11-slim-bookworm ||
        podman pull --quiet docker.io/library/python:3.11-slim-bookworm 2>/dev/null || "$here/base_image.sh" || exit 1
fi
echo "== The image"
check "the image is built from the Dockerfile" build
[ "$n_failed" = 0 ] || exit 1
check "its size is stated and, of the CPU image, below $LARGEST_CPU_IMAGE_MB MB" is_small_enough
size_mb=$(cat "$log")
check "label: version" same "$(label_of version)" "$(cat "$repository/version")"
check "label: revision" same "$(label_of revision)" "$revision"
check "label: licence" same "$(label_of licenses)" Apache-2.0
check "label: source" same "$(label_of source)" "${SOURCE:-unknown}"
expect "--version" 0 "bids_cascade $(cat "$repository/version")" container "$image" --version
expect "--help" 0 "--participant-label" container "$image" --help
expect "what is installed is what the lock file says" 0 "as locked" \
    container --volume "$here/check_lock.py:/check_lock.py:ro" --entrypoint python "$image" /check_lock.py

echo "== As Docker runs it: read-only, without network, /tmp, HOME or a name for the user"
data=$SCRATCH/data out=$SCRATCH/out
own_folder "$data"
own_folder "$out"
check "phantoms are made in the container" container --volume "$data:/data" \
    --volume "$here/phantoms.py:/phantoms.py:ro" --entrypoint python "$image" /phantoms.py /data
expect "participants are listed" 0 03 container --volume "$data:/data:ro" --volume "$out:/out" \
    "$image" /data /out participant --list-participants all
expect "a phantom, HOME missing, no -w" 0 "1 of 1 visit done" container --env HOME=/nowhere \
    --volume "$data:/data:ro" --volume "$out:/out" "$image" /data /out participant --participant-label 01
check "its outputs are there and the caller's" has_outputs "$out" 01
check "two processors were used of --cpus 2" used n_procs "$((processors < 2 ? processors : 2))" "$out"
expect "another, HOME read-only, with -w" 0 "1 of 1 visit done" container --env HOME=/opt/bids_cascade \
    --volume "$data:/data:ro" --volume "$out:/out" "$image" /data /out participant --participant-label 02 \
    --work-dir /out/work
expect "a broken image fails its own visit only" 65 "2 of 3 visits done, 1 not" container --volume "$data:/data:ro" \
    --volume "$out:/out" "$image" /data /out participant --work-dir /out/work
expect "only the broken one is left" 0 03 container --volume "$data:/data:ro" \
    --volume "$out:/out" "$image" /data /out participant --list-participants unfinished
check "the outputs are the caller's" has_outputs "$out" 01 02
check "the outputs are valid BIDS" container --volume "$out:/out:ro" --entrypoint bids-validator-deno "$image" /out
if container "$image" --help | grep -q '{.*group'; then
    expect "the group level names the one that failed" 0 sub-03 \
        container --volume "$data:/data:ro" --volume "$out:/out" "$image" /data /out group
    check "with it the outputs are valid BIDS" \
        container --volume "$out:/out:ro" --entrypoint bids-validator-deno "$image" /out
else
    skip "the group level: this version has none"
fi

echo "== Little memory"
own_folder "$SCRATCH/small"
expect "1 GB is refused at once, with what is needed" 64 "GB of memory" container --memory 1g \
    --volume "$data:/data:ro" --volume "$SCRATCH/small:/out" "$image" /data /out participant --participant-label 01
expect "a step that is killed for memory is named, and nothing hangs" 1 "for lack of memory" container --memory 1g \
    --volume "$data:/data:ro" --volume "$SCRATCH/small:/out" "$image" /data /out participant --participant-label 01 \
    --mem-gb 8

for part in documents real slurm; do
    # shellcheck source=/dev/null
    . "$here/$part.sh"
done

if [ "${1:-}" = --write ]; then
    write_result
fi
echo "$n_passed passed, $n_failed failed"
[ "$n_failed" = 0 ]
