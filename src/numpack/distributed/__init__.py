"""Stored arrays in engines that compute with many processes, one module each.

Imports `store`, `io` and the layers below them. An engine is imported by its module only, which
`import numpack` does not import.
"""
