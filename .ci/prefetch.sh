# Installs what steps behind the tests need, while those wait for brokers.  Only a saving of time: each
# step installs for itself what is missing here, and fails for itself if that cannot be had.
renice -n 19 -p $$ >/dev/null
make .cache/chart-tools/chart.stamp .cache/browser/browser.stamp
if command -v npm >/dev/null; then make .cache/asyncapi/parser.stamp; fi
. .ci/debian.sh
debian_packages buildah podman runc debootstrap python3-venv tar
mkdir -p .cache/image
image/base.sh .cache/image
