"""Folders of NumPack 0.x: reading them in place, and upgrading them to stores.

Imports `fs`, `kernels` and its siblings in `format`.
"""
