"""The commands of ``headrace``: thin, each in a file of its own."""
