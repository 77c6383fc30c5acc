"""Native reading of the lines that the log consists of nearly always."""
