# The image: built twice from the same sources, then run as the chart's pod says, on Apache Kafka.
. .ci/debian.sh
debian_packages buildah podman runc debootstrap python3-venv tar
cache=.cache/image
most_bytes=120000000

mkdir -p "$cache"
image/base.sh "$cache"
first=$(image/build.sh "$cache" localhost/headrace:first)
second=$(image/build.sh "$cache" localhost/headrace:second)
echo "first build:  $first"
echo "second build: $second"
[ "$first" = "$second" ] || { echo "two builds gave two images"; exit 1; }

rm -rf "$cache/pushed"
buildah push --quiet localhost/headrace:first "dir:$cache/pushed"
bytes=$(du --bytes --summarize "$cache/pushed" | cut -f 1)
echo "compressed: $((bytes / 1000000)) MB, at most $((most_bytes / 1000000)) MB"
[ "$bytes" -le "$most_bytes" ] || exit 1

# The chart's tools render the pod that is run.
make .cache/chart-tools/chart.stamp .venv/dev.stamp
HEADRACE_IMAGE=localhost/headrace:first HEADRACE_TRANSCRIPT=$cache/transcript.txt \
    .venv/bin/pytest -p no:randomly tests/image
cut -c 1-200 "$cache/transcript.txt"
