"""The recipe: cross-task collaborative training (Guan et al. 2024) built on desed_task."""
