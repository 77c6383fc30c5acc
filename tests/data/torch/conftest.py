"""What is collected where."""

import sys

# Sizes of processes are read from the kernel's files, which exist on Linux only.
collect_ignore = [] if sys.platform == "linux" else ["test_memory.py"]
