"""The subject `ablation`: `local/ablation/command.py`."""

from local.ablation.command import main

__all__ = ["main"]
