"""Live results for dashboards: one Kafka reader per topic, however many clients.

A *feed* reads one topic.  It keeps a window of recent events, each encoded once, and one *view*
per distinct filter.  A *subscription* is a position in a view; a *pass* of the hub sends every
subscription that can take it the same encoded frame.  What a client cannot take in time is
dropped and said, conflated, or costs it the connection; it never costs anybody else anything.
"""
