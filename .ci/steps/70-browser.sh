# The live page in a real browser: it loads, moves, filters, and resumes without a hole.
. .ci/debian.sh
debian_packages chromium fonts-dejavu-core
# Playwright is a tool of this step alone: an environment of its own, never in the locks.
environment=.cache/browser
if [ ! -x $environment/bin/pytest ]; then
    uv venv -q $environment
    VIRTUAL_ENV=$environment uv pip install -q --require-hashes -r requirements-dev.lock
    VIRTUAL_ENV=$environment uv pip install -q playwright==1.65.2
fi
VIRTUAL_ENV=$environment uv pip install -q --no-deps -e .
$environment/bin/pytest tests/browser -p no:cacheprovider
