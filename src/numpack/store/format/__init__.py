"""The files of a store: log, catalog, journal, data files, header, and NumPack 0.x folders.

Imports `fs` and `kernels`.
"""
