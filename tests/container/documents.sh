# shellcheck shell=bash disable=SC2154
# The commands of README.md and docs/hpc.md, word for word but for the names of folders. Sourced by run.sh.

echo "== As the documents say"
bin=$SCRATCH/bin
mkdir -p "$bin"
if [ "$ENGINE" != docker ]; then
    ln -sf "$here/imitation/docker" "$bin/docker"
fi
if ! command -v apptainer >/dev/null; then
    ln -sf "$here/imitation/apptainer" "$bin/apptainer"
fi
export BUILDER BUILD_OPTIONS TORCH_BUILD TORCH_OPTIONS
export IMITATED_UID=$uid

# The block of code after a mark, with folders of ours.
block() {
    sed -n "/^<!-- ci: $2 -->\$/,/^\`\`\`\$/{/^<!--/d;/^\`\`\`/d;p;}" "$repository/$1" |
        sed "s#/path/to/dataset#$data#g; s#/path/to/results#$results#g; s#/path/to/work#$work#g; s#/path/to#$SCRATCH#g"
}

# documented FILE MARK FOLDER: run a block there.
documented() {
    (cd "$3" && PATH="$bin:$PATH" bash -euo pipefail -c "$(block "$1" "$2")")
}

results=$SCRATCH/results work=$SCRATCH/work
own_folder "$results"
own_folder "$work"
# Intermediate results of the same participant are at hand: what counts here is the command line.
cp -a "$out/work" "$results/"
if [ "$ENGINE" = docker ] && [ "$TORCH_BUILD" != cuda ]; then
    skip "README: docker build: it would make the image for GPUs"
else
    # The image was just built with these layers, so this is quick, and what was tested stays what it was.
    check "README: docker build" documented README.md docker-build "$repository"
    build >>"$log" 2>&1
fi
expect "README: docker run" 0 "1 of 1 visit done" documented README.md docker-run "$repository"
mkdir -p "$SCRATCH/clone"
tar -C "$repository" -cf - --exclude-vcs --exclude=./.venv . | tar -C "$SCRATCH/clone" -xf -
expect "README: the demo" 0 "lesions found" documented README.md demo "$SCRATCH/clone"
if [ "$(id -u)" = 0 ] && { command -v apptainer || command -v bwrap; } >/dev/null; then
    results=$SCRATCH/apptainer
    own_folder "$results"
    check "docs: apptainer build" documented docs/hpc.md apptainer-build "$SCRATCH"
    expect "docs: apptainer run" 0 "1 of 1 visit done" documented docs/hpc.md apptainer-run "$SCRATCH"
    check "docs: its outputs are the caller's" has_outputs "$results" 01
    expect "apptainer run without --work-dir" 0 "1 of 1 visit done" env PATH="$bin:$PATH" apptainer run --cleanenv \
        --containall --bind "$data:/data:ro" --bind "$results:/out" "$SCRATCH/bids_cascade.sif" /data /out participant \
        --participant-label 01
    check "docs: the work folder is not in Apptainer's small /tmp" test -f "$results/work/finished/sub_01.json"
    # Without --cleanenv the host's environment leaks in: settings that point nowhere must do no harm.
    expect "apptainer run with a leaking environment" 0 "1 of 1 visit done" env PATH="$bin:$PATH" \
        MPLCONFIGDIR=/nowhere XDG_CACHE_HOME=/nowhere TMPDIR=/nowhere apptainer run --containall \
        --bind "$data:/data:ro" --bind "$results:/out" "$SCRATCH/bids_cascade.sif" /data /out participant \
        --participant-label 01
else
    skip "Apptainer: needs it, or root, bubblewrap and squashfs-tools for its imitation"
fi
