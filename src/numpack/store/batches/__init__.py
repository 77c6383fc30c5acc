"""Modes in which many changes become one commit: `batch_mode` and `writable_batch_mode`.

Imports the writer, the session and what is below them.
"""
