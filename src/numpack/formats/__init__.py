"""File formats that arrays are read from and written to, one module each.

Imports `data`, `store` and the layers below them. The library of a format is imported on first
use.
"""
