# What `make test` expects of a machine, and Java and Maven for the tests' Apache Kafka.
. .ci/debian.sh
debian_packages ca-certificates git make maven openjdk-17-jre-headless python3 python3-venv
