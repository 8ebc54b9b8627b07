# The AsyncAPI document, judged by the reference parser.
. .ci/debian.sh
command -v npm >/dev/null || debian_packages nodejs npm
make asyncapi
