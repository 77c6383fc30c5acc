"""Columns of Arrow as arrays, and arrays as columns, for the formats of tables."""
