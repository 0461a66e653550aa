"""The live view of all runs: what is seen, how it is drawn, and the keys that steer it."""
