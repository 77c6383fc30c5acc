"""Directories, system calls, locks and fork handlers.

Does not depend on the format of the files.
"""
