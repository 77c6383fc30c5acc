"""The files of a store: log, journal, data files, header and NumPack 0.x.

Imports `fs` and `kernels`.
"""
