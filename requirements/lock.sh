#!/usr/bin/env bash
# Write the lock files anew from pyproject.toml: `pip install uv && requirements/lock.sh`, with `--upgrade` to move on.
# common.txt is all but PyTorch; torch-cuda.txt is PyTorch's default build with the CUDA libraries that it pins.
# PyTorch's CPU builds are of the same version, but on an index of their own, so their hashes are in neither file.
set -euo pipefail
cd "$(dirname "$0")/.."

# Without an output file uv keeps no versions, so what is locked already is handed back as constraints.
constraints=()
if [ "${1:-}" != --upgrade ] && [ -f requirements/common.txt ]; then
    constraints=(--constraints requirements/common.txt --constraints requirements/torch-cuda.txt)
fi
locked=$(env -u PIP_FIND_LINKS -u UV_FIND_LINKS uv pip compile pyproject.toml --quiet --generate-hashes --no-header \
    --no-annotate --python-version 3.11 --python-platform x86_64-manylinux_2_28 "${constraints[@]}")

write() {
    printf '# Written by requirements/lock.sh for Python 3.11 on x86-64 Linux; change pyproject.toml instead.\n'
    awk -v wanted="$1" '/^[a-z]/ { gpu = /^(torch|triton|cuda-|nvidia-)/ } gpu == wanted' <<<"$locked"
}
write 0 >requirements/common.txt
write 1 >requirements/torch-cuda.txt
