"""Headrace: events from Kafka and WebSockets, through bounded channels and streams, to topics.

What a handler's author needs is importable from here; everything else has a home of its own
(see ``docs/architecture.md``).
"""
