"""Servers of the tests: real ones of object stores, a proxy before them, and one of files."""
