# The command that the README gives to everyone.
make test
