"""What the formats have in common: sources of rows, files that are written, attributes."""
