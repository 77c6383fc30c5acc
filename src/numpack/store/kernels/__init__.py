"""Native loops over the bytes of arrays: checksums, gathering, deleted rows, patching.

Imports only `errors`.
"""
