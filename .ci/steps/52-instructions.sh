# An event must not become more expensive: instructions are counted, no time is measured.
. .ci/debian.sh
debian_packages valgrind
make regression
