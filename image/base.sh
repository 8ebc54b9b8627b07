#!/bin/bash
# Makes the two bases of the image without a registry, from Debian's packages, and caches them:
#
#   headrace-build-base     bookworm with python3 and venv
#   headrace-runtime-base   of that, Python and what it needs; no shell, no package manager
#
# Usage: image/base.sh CACHE_DIRECTORY

set -euo pipefail
cache=$1
root=$cache/root
build=localhost/headrace-build-base:bookworm
runtime=localhost/headrace-runtime-base:bookworm

if [ ! -f "$cache/root.stamp" ]; then
    rm -rf "$root"
    mkdir -p "$root"
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Release: bookworm' \
        | head -n 1)
    echo "debootstrap bookworm"
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates \
        bookworm "$root" ${mirror:+"$mirror"} >"$cache/debootstrap.log"
    # Bytecode that is valid whatever time its source has: the root file system is read-only, so
    # what is stale is compiled again at each start.
    chroot "$root" python3 -m compileall -q -f --invalidation-mode unchecked-hash \
        /usr/lib/python3.11
    touch "$cache/root.stamp"
    buildah rmi "$build" "$runtime" >/dev/null 2>&1 || true
fi

# The files of the root that tar is told to take, as an image: no times, so that the same packages
# give the same image.
make_image() {
    local name=$1 container
    shift
    buildah inspect --type image "$name" >/dev/null 2>&1 && return 0
    tar --create --sort=name --mtime=@0 --numeric-owner --directory "$root" \
        --file "$cache/layer.tar" "$@"
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$cache/layer.tar" / >/dev/null
    buildah commit --quiet --rm --format oci --timestamp 0 "$container" "$name" >/dev/null
    rm "$cache/layer.tar"
}

make_image "$build" --exclude=./var/cache --exclude=./usr/share/doc --exclude=./usr/share/locale .
make_image "$runtime" --exclude='perl*' --exclude='libapt*' --exclude=gconv --exclude=security \
    --exclude=ensurepip --exclude=lib2to3 --exclude='config-3.11-*' \
    bin lib lib64 etc/ssl etc/ld.so.cache etc/ld.so.conf etc/ld.so.conf.d etc/nsswitch.conf \
    etc/host.conf etc/os-release etc/debian_version etc/passwd etc/group \
    usr/bin/python3 usr/bin/python3.11 usr/lib/os-release \
    usr/lib/python3.11 usr/lib/x86_64-linux-gnu usr/lib64 usr/share/zoneinfo \
    usr/share/ca-certificates dev proc sys tmp var/tmp
