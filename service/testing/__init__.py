"""What users of the service test their handlers and pipelines with, and what its own tests use.

Nothing in the service imports this package.
"""
