# Kills, broker restarts and a broken network, and the judge shown two broken variants.
make faults
