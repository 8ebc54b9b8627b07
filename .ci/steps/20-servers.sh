# Servers that the integration tests start for themselves.
. .ci/debian.sh
debian_packages postgresql rabbitmq-server
