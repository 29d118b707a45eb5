"""The warm-up of learning rate and consistency weight (docs/recipe.md, "One training step")."""

import math


def warmup_factor(step: int, ramp_length: int, warmup_exponent: float) -> float:
    """Ramp r(n) = exp(-e·(1 - min(n, R)/R)²) at optimiser step n = 1, 2, …; 1 after R steps.

    `ramp_length` R in optimiser steps (0: no ramp, always 1), `warmup_exponent` e.
    """
    if ramp_length == 0:
        return 1.0
    progress = min(step, ramp_length) / ramp_length
    return math.exp(-warmup_exponent * (1 - progress) ** 2)
