"""Reading a store in an object store: its log, its rows by ranges, and the cache of its blocks.

May import `object_store` and everything of the store but what changes it. Nothing imports it
before a store is opened by a URL.
"""
