"""Rows as a map-style dataset of torch."""
