"""Native loops over the bytes of arrays and of the log.

Import nothing of the package but `errors`.
"""
