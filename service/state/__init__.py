"""State that comes back: what handlers remember, per key and partition, with a changelog.

No Kafka.  `store` knows which values the changelog does not have yet; they lie in a `table`, in
memory, or in a `disk_table`.  `records` says how a change looks as a record, and `restore` reads a
changelog back through whatever reader it is given.
"""
