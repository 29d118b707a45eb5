"""A run: its folder, processes, trainer, checkpoints."""
