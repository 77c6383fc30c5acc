"""Native loops over the bytes of arrays and of the log.

Imports only `errors` and the constants of `format` that the native code shares.
"""
