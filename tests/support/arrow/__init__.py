"""Arrow arrays of every type, and their values by other means."""
