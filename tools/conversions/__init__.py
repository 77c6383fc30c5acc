"""The table of conversions under docs/matrix.md and docs/will-it-copy.

`arrays` makes NumPy arrays, `sources` puts them into a framework, `outcomes` explains and runs
the conversions, `fixes` turns a fix into code that has been run, `table` collects and reads
all of it, and `page` writes docs/matrix.md.
"""
