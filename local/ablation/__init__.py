"""Ablation: variants of an experiment, each trained with several seeds, compared in pairs."""
