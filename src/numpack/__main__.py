"""``python -m numpack``: the command line, see `numpack.cli`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
