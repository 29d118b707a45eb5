"""Dropout whose mask costs little on a CPU, where PyTorch draws one number after the other."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

_STEPS = 1 << 16  # a mask is drawn from 16 random bits per element
_PER_DRAW = 4  # elements that one draw of 64 bits serves


def draw_kept(shape: Sequence[int], p: float) -> Tensor:
    """Mask of elements that stay, boolean, on the CPU; `p` in steps of 1/65536.

    The bits come from NumPy's SFC64, seeded by one draw from PyTorch's generator: half the time
    of PyTorch's own, and what PyTorch's state repeats, it repeats.
    """
    size = torch.Size(shape)
    seed = int(torch.randint(2**63 - 1, ()))
    words = np.random.Generator(np.random.SFC64(seed)).integers(
        -(2**63), 2**63 - 1, size=-(-size.numel() // _PER_DRAW), dtype=np.int64, endpoint=True
    )
    bits = torch.from_numpy(words).view(torch.int16)[: size.numel()].view(size)
    return bits >= round(p * _STEPS) - _STEPS // 2


def kept_scale(p: float) -> float:
    """Factor on the elements that stay, of `p` in steps of 1/65536."""
    return _STEPS / (_STEPS - round(p * _STEPS))


class Dropout(nn.Module):
    """As `torch.nn.Dropout`: in training zeroes elements with probability `p`, scales the rest.

    On a CPU p is rounded to a multiple of 1/65536; see `draw_kept`.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        if not self.training or self.p == 0 or x.device.type != "cpu":
            return nn.functional.dropout(x, self.p, self.training)
        return x * draw_kept(x.shape, self.p).to(x.dtype).mul_(kept_scale(self.p))

    def extra_repr(self) -> str:
        """Shown in the network's description."""
        return f"p={self.p}"
