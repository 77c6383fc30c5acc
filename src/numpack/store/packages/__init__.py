"""Packages: stores in one file, a ZIP archive, which are read in place.

Imports the session and what is below it. `numpack.formats.packages` makes them.
"""
