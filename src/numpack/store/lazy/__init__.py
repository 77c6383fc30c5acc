"""Arrays read from their file on demand, and references to them for pickles.

Imports `rows`, `format` and what is below them; never what changes the store.
"""
