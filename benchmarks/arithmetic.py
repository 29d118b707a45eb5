"""What a step computes and moves, counted operation by operation."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.training_step import TrainingStep


class _Bytes(TorchDispatchMode):
    """Sums what operations read and write, as if nothing stayed in a cache; views are free."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            for leaf in tree_leaves((args, kwargs, result)):
                if isinstance(leaf, torch.Tensor):
                    self.total += leaf.numel() * leaf.element_size()
        return result


def arithmetic(step: TrainingStep) -> tuple[int, int]:
    """Floating point operations of one step (products and convolutions), and bytes moved."""
    counter, moved = FlopCounterMode(display=False), _Bytes()
    with moved, counter:
        step.run()
    return counter.get_total_flops(), moved.total
