"""The commit log: its state in memory, reading and validating it, and appending to it.

It accesses the folder only through `store.fs`, and never the data files but to extend one.
"""
