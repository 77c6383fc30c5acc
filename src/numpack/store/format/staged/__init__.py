"""Staged files: an array that processes write before one commit makes it part of the store.

Imports what the other modules of `format` import.
"""
