"""The cache: files of blocks that were fetched, which all processes of a user share.

May import `store.fs`, `store.kernels` and `store.format`.
"""
