"""The warm-up of learning rate and consistency weight (docs/recipe.md, "One training step")."""

import math

EXPONENT = -5.0


def warmup_factor(step: int, ramp_length: int) -> float:
    """r(n) = exp(-5·(1 - min(n, R)/R)²) of optimiser step n = 1, 2, …; 1 after R steps.

    `ramp_length` R in optimiser steps; 0: no warm-up, 1 throughout.
    """
    if ramp_length == 0:
        return 1.0
    progress = min(step, ramp_length) / ramp_length
    return math.exp(EXPONENT * (1 - progress) ** 2)
