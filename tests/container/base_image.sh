#!/usr/bin/env bash
# Make a stand-in for the Dockerfile's base image from Debian's packages, for machines that reach no image registry.
# Needs root, buildah and debootstrap. The real base is the better test: use this only without it.
set -euo pipefail

name=docker.io/library/python:3.11-slim-bookworm
root=$(mktemp -d "${TMPDIR:-/var/tmp}/base_image.XXXXXX")
trap 'rm -rf "$root"' EXIT

debootstrap --variant=minbase --include=ca-certificates,python3,python3-pip,python3-venv bookworm "$root"
# As the real one has it: a command python, pip that may install, and neither manuals nor package lists.
ln -s /usr/bin/python3 "$root/usr/local/bin/python"
rm -rf "$root"/usr/lib/python3*/EXTERNALLY-MANAGED "$root"/usr/share/{doc,man,locale,info} \
    "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*

container=$(buildah from scratch)
buildah copy --quiet "$container" "$root" / >/dev/null
buildah config --env PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin --env LANG=C.UTF-8 "$container"
buildah commit --quiet --rm "$container" "$name"
