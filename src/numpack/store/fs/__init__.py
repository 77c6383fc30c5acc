"""Directories, system calls and locks of a store.

Knows nothing of the format of the files.
"""
