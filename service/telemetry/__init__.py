"""How the service is seen from outside: logs, metrics, traces.

Everything that talks to a collector or a pipe does so from a thread of its own behind a bounded
queue: a collector that hangs, or a log pipe that nobody reads, changes nothing for the data.
"""
