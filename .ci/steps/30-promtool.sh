# Alert rules: well formed, and each fires when it should and only then.
. .ci/debian.sh
debian_packages prometheus
promtool check rules helm/headrace/rules/*.yaml
promtool test rules tests/rules/*_test.yaml
