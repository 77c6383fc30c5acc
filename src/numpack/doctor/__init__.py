"""What is installed, and what every hand-over between it really does, probed here and now."""

from .probe import Probe, Report, examine

__all__ = ["Probe", "Report", "examine"]
