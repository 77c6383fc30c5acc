"""The conformance class of file formats, and what it needs."""
