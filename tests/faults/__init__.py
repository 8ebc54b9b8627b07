"""The fault laboratory: the service as processes, real faults, and a judge that does not trust it.

``python -m tests.faults run NAME [--seed N]`` runs one schedule and leaves a history;
``python -m tests.faults replay FILE`` runs the same one again; ``judge FILE`` only judges.
"""
