# The service killed, rebalanced and cut off, and the judge shown two broken variants.
make faults
