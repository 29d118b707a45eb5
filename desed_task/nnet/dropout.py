"""Dropout whose mask costs little on a CPU, where PyTorch draws one number after the other."""

import torch
from torch import Tensor, nn

_STEPS = 1 << 16  # a mask is drawn from 16 random bits per element


class Dropout(nn.Module):
    """As `torch.nn.Dropout`: in training zeroes elements with probability `p`, scales the rest.

    On a CPU one 64-bit draw serves four elements, so p is rounded to a multiple of 1/65536.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        if not self.training or self.p == 0 or x.device.type != "cpu":
            return nn.functional.dropout(x, self.p, self.training)
        dropped = round(self.p * _STEPS)
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = draws.view(torch.int16)[: x.numel()].view(x.shape)
        kept = bits >= dropped - _STEPS // 2
        return x * kept.to(x.dtype).mul_(_STEPS / (_STEPS - dropped))

    def extra_repr(self) -> str:
        """Shown in the network's description."""
        return f"p={self.p}"
