"""Native DLPack exchange: importing, exporting, the fast path and the C exchange API.

Imports no other part of the package than `_core` and `errors`.
"""
