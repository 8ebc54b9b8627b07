"""Records of every bad kind through a real broker, and a judge who knows what each must become.

``python -m tests.fuzzing --records 1000000`` runs it for long; `make soak` does.
"""
