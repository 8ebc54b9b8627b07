"""The pure heart of delivery: what may be committed, retried, dead-lettered or dispatched.

No Kafka client, no clock and no event loop in here: time comes in as an argument, decisions go
out as values, and the edges do the I/O.
"""
