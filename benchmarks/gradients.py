"""The subject `gradients`: `local/gradients.py`."""

from local.gradients import main

__all__ = ["main"]
