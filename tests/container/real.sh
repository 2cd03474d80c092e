# shellcheck shell=bash disable=SC2154
# One visit of real scans, with the same restrictions. Sourced by run.sh.

echo "== A real visit"
if [ -d "$REAL_DATA" ]; then
    real=$(realpath "$REAL_DATA") out=$SCRATCH/real
    own_folder "$out"
    label=$(container --volume "$real:/data:ro" --volume "$out:/out" "$image" /data /out participant \
        --list-participants all 2>/dev/null | head -n 1)
    session=$(find "$real/sub-$label" -maxdepth 1 -name 'ses-*' -printf '%f\n' | sort | head -n 1)
    expect "sub-$label${session:+_$session} of $(basename "$real")" 0 "1 of 1 visit done" container \
        --volume "$real:/data:ro" --volume "$out:/out" "$image" /data /out participant --participant-label "$label" \
        ${session:+--session-label "$session"}
    check "its outputs are there and the caller's" has_outputs "$out" "$label"
    check "its outputs are valid BIDS" container --volume "$out:/out:ro" --entrypoint bids-validator-deno "$image" /out
else
    skip "a real visit: there is no $REAL_DATA"
fi
