# What all later steps share, before two of them want to make it at once.
make .venv/dev.stamp
