"""The native DLPack exchange: importing, exporting and the fast path.

Imports `_core` alone.
"""
