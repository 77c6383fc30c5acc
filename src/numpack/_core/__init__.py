"""Copy policy, dtypes, memory layout and mapped files: what every conversion uses.

Imports no other part of the package than `errors`.
"""
