"""State that comes back: what handlers remember, per key and partition, with a changelog.

Pure bookkeeping: no Kafka, no event loop.  `store` holds the values and knows which of them the
changelog does not have yet; `records` says how a change looks as a record; `restore` reads a
changelog back through whatever reader it is given.
"""
