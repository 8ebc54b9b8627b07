# The chart: rendered for every feature, validated, scanned, unit-tested.
make chart
