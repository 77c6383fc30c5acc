"""The part of `NumPack` that reads a store, and the verification of checksums.

Imports `lazy`, `rows`, `format` and what is below them; never what changes the store.
"""
