"""Runs: folders, devices, processes, trainer, checkpoints."""
