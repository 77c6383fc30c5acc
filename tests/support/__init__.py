"""Modules shared by several test modules."""
