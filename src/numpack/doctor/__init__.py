"""The installed frameworks, and a test of every conversion between them.

May use all but the command line.
"""

from .backend import get_backend_info
from .probe import Probe, Report, examine

__all__ = ["Probe", "Report", "examine", "get_backend_info"]
