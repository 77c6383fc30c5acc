"""Stores as a stranger or an older version made them."""
