#!/bin/bash
# Builds the image without a registry and without a Docker daemon; prints its id.
#
# Usage: image/build.sh CACHE_DIRECTORY TAG

set -euo pipefail
cd "$(dirname "$0")/.."
cache=$(realpath "$1")
tag=$2

# Wheels are fetched once for each pair of locks; the build itself needs no network.
locks=$(cat requirements-build.lock requirements-image.lock | sha256sum | cut -c 1-16)
wheels=$cache/wheels-$locks
if [ ! -f "$wheels/complete" ]; then
    [ -x "$cache/pip/bin/pip" ] || python3 -m venv "$cache/pip"
    for lock in requirements-build.lock requirements-image.lock; do
        "$cache/pip/bin/pip" download -q --require-hashes --only-binary :all: \
            --dest "$wheels" --requirement "$lock" >&2
    done
    touch "$wheels/complete"
fi

buildah bud --quiet --isolation chroot --pull-never --no-cache --format oci --timestamp 0 \
    --build-arg BUILD_BASE=localhost/headrace-build-base:bookworm \
    --build-arg RUNTIME_BASE=localhost/headrace-runtime-base:bookworm \
    --build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS=/wheels \
    --volume "$wheels:/wheels:ro" --tag "$tag" .
