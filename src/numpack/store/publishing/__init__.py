"""Publishing a store: what changed since the last time is written to an object store.

Imports `store.reading`, `store.format` and `object_store`; only `Publisher`, which has the
method, is imported before the first call.
"""
