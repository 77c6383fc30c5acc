"""Faults, kills and power losses, and what is found after them."""
