"""The warm-up of learning rate and consistency weight (docs/recipe.md, "One training step").

And an end of the learning rate that the recipe does not have, for short trainings.
"""

import math


def warmup_factor(step: int, ramp_length: int, warmup_exponent: float) -> float:
    """Ramp r(n) = exp(-e·(1 - min(n, R)/R)²) at optimiser step n = 1, 2, …; 1 after R steps.

    `ramp_length` R in optimiser steps (0: no ramp, always 1), `warmup_exponent` e.
    """
    if ramp_length == 0:
        return 1.0
    progress = min(step, ramp_length) / ramp_length
    return math.exp(-warmup_exponent * (1 - progress) ** 2)


def rampdown_factor(step: int, last_step: int, ramp_length: int) -> float:
    """Half a cosine that falls from 1 to almost 0 over the last steps of a training.

    Source: Tarvainen and Valpola, Mean teachers are better role models, 2017 (its appendix).

    `step` n = 1, 2, … and `last_step` in optimiser steps, `ramp_length` too (0: always 1).
    """
    if ramp_length == 0:
        return 1.0
    left = min(max(last_step - step + 1, 0) / (ramp_length + 1), 1.0)
    return (1 - math.cos(math.pi * left)) / 2
