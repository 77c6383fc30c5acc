"""Rows of stored arrays: indexes, deleted rows and replacing.

Imports `format` and what is below it.
"""
