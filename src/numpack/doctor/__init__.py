"""The installed frameworks, and a test of every conversion between them.

May use the whole package; only the command line uses it.
"""

from .probe import Probe, Report, examine

__all__ = ["Probe", "Report", "examine"]
