# The live page in a real browser: it loads, moves, filters, and resumes without a hole.
. .ci/debian.sh
debian_packages chromium fonts-dejavu-core
make browser
