"""Layers for a CPU: everything that exists only because CPUs are slow.

PyTorch draws dropout masks one number after the other, and pools without vector instructions;
layer by layer, gating, dropout and pooling each move the whole map through memory. On a GPU the
blocks use PyTorch's own layers (`desed_task.nnet.blocks`), which compute the same. The same holds
for `band_convolution` and `desed_task.nnet.frequency_dynamic`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

_STEPS = 1 << 16  # an element is dropped by 16 random bits: p is a multiple of 1 / _STEPS
_BYTES = 2  # the same 16 bits

Pooling = tuple[int, int]  # (band, time)


class DropoutMask(NamedTuple):
    """Elements that dropout does not drop, and the factor for an equal expectation of their sum.

    Attributes:
        kept: boolean, in the shape of the map: one byte per element.
        scale: 1 / (1 - p).
    """

    kept: Tensor
    scale: float


def draw_mask(shape: Sequence[int], p: float) -> DropoutMask:
    """Dropout mask on the CPU; `p` is rounded to a multiple of 1/65536.

    NumPy's SFC64 generates the bits in half the time of PyTorch's generator. Its seed is one draw
    from PyTorch's generator, so that a restored PyTorch state also restores the masks.
    """
    size = torch.Size(shape)
    generator = np.random.SFC64(int(torch.randint(2**63 - 1, ())))
    words = np.random.Generator(generator).integers(
        -(2**63),
        2**63 - 1,
        size=-(-size.numel() * _BYTES // 8),  # of 8 bytes, rounded up
        dtype=np.int64,
        endpoint=True,
    )
    bits = torch.from_numpy(words).view(torch.int16)[: size.numel()].view(size)
    # 16 bits are a number from -_STEPS / 2: the smallest round(p * _STEPS) of them are dropped.
    dropped = round(p * _STEPS)
    return DropoutMask(bits >= dropped - _STEPS // 2, _STEPS / (_STEPS - dropped))


class Dropout(nn.Module):
    """`torch.nn.Dropout`, whose mask on a CPU comes from `draw_mask`."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        if not self.training or self.p == 0 or x.device.type != "cpu":
            return nn.functional.dropout(x, self.p, self.training)
        mask = draw_mask(x.shape, self.p)
        return x * mask.kept.to(x.dtype).mul_(mask.scale)

    def extra_repr(self) -> str:
        """Settings, for the network's description."""
        return f"p={self.p}"


def is_exported() -> bool:
    """Whether an export records the layers; what it writes has PyTorch's own."""
    return torch.jit.is_tracing() or torch.compiler.is_exporting()


def gated_pool(x: Tensor, gate: Tensor, mask: DropoutMask | None, pooling: Pooling) -> Tensor:
    """Average pooling of dropout of x · sigmoid(gate), in one pass over memory.

    Args:
        x, gate: `(batch, channels, bands, frames)`, on a CPU. `gate` is overwritten; so is `x`
            where no gradients are needed.
        mask: of the dropout, in the shape of `x`; None for no dropout.
        pooling: (band, time); bands and frames at the end that fill no window are ignored.

    Returns: `(batch, channels, bands // band, frames // time)`.
    """
    return _GatedPool.apply(x, gate, mask, pooling)


class _GatedPool(torch.autograd.Function):
    """y[w] = c · Σ over i in window w of m[i] · x[i] · s[i], with s = sigmoid(gate).

    m is the mask (1 kept, 0 dropped), and the constant c joins two factors: the mask's scale and
    1 / (elements of a window). With G[i] = m[i] · c · ∂L/∂y[w(i)], the gradient that the window
    w(i) of element i hands to it (0 for an element that is in no window), the chain rule gives

        ∂L/∂x[i]    = G[i] · s[i]
        ∂L/∂gate[i] = G[i] · x[i] · s[i] · (1 - s[i])     since s' = s · (1 - s)

    So x, s and m are all that the backward pass needs; x · s and its dropped-out copy, which
    autograd would keep, are not stored. Both passes take one clip after the other: a clip's map
    fits the processor's cache, the batch's does not.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gate: Tensor, mask: DropoutMask | None, pooling: Pooling
    ) -> Tensor:
        needs_gradients = any(ctx.needs_input_grad)
        sigmoid = gate.sigmoid_()
        kept = None if mask is None else mask.kept
        factor = (1.0 if mask is None else mask.scale) / (pooling[0] * pooling[1])
        pooled = []
        for number, clip_x in enumerate(x.split(1)):
            clip = slice(number, number + 1)
            gated = clip_x * sigmoid[clip] if needs_gradients else clip_x.mul_(sigmoid[clip])
            if kept is not None:
                gated.mul_(kept[clip])
            pooled.append(_sum_windows(gated, pooling).mul_(factor))
        if needs_gradients:
            ctx.save_for_backward(x, sigmoid, kept)
            ctx.pooling, ctx.factor = pooling, factor
        return torch.cat(pooled)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, sigmoid, kept = ctx.saved_tensors
        grad_x, grad_gate = torch.empty_like(x), torch.empty_like(sigmoid)
        for number, clip_grad in enumerate((grad * ctx.factor).split(1)):
            clip = slice(number, number + 1)
            spread = _spread_windows(clip_grad, x[clip].shape, ctx.pooling)  # G
            if kept is not None:
                spread.mul_(kept[clip])
            torch.mul(spread, sigmoid[clip], out=grad_x[clip])
            # sigmoid_backward(a, s) = a · s · (1 - s)
            torch.ops.aten.sigmoid_backward.grad_input(
                spread.mul_(x[clip]), sigmoid[clip], grad_input=grad_gate[clip]
            )
        return grad_x, grad_gate, None, None


def _sum_windows(x: Tensor, pooling: Pooling) -> Tensor:
    """Sum over each window of (band, time), as sums of strided slices, which are vectorised.

    Returns `x` itself where a window is one element.
    """
    for dim, size in zip((2, 3), pooling, strict=True):
        if size == 1:
            continue
        windows = x.narrow(dim, 0, x.shape[dim] // size * size).unflatten(dim, (-1, size))
        first, second, *others = windows.unbind(dim + 1)
        x = first + second
        for other in others:
            x += other
    return x


def _spread_windows(grad: Tensor, shape: torch.Size, pooling: Pooling) -> Tensor:
    """Gradient of `_sum_windows`, of `shape`: each element gets its window's, 0 without one."""
    for dim, size in zip((3, 2), reversed(pooling), strict=True):
        spread_shape = [*grad.shape]
        spread_shape[dim] = shape[dim]
        spread = grad.new_empty(spread_shape)
        filled = grad.shape[dim] * size
        windows = spread.narrow(dim, 0, filled).unflatten(dim, (-1, size))
        for element in windows.unbind(dim + 1):
            element.copy_(grad)
        spread.narrow(dim, filled, shape[dim] - filled).zero_()
        grad = spread
    return grad


def band_convolution(x: Tensor, attention: Tensor, weight: Tensor) -> Tensor:
    """Convolution with a kernel per clip and band, the weighted sum of basis kernels.

    A convolution is linear in its kernel, so the sum may be taken before it: one convolution
    instead of one per basis kernel. Each clip and band is a group of a convolution over frames,
    whose channels are those of the bands under the kernel. docs/performance.md has the seconds.

    Args:
        x: `(batch, inputs, bands, frames)`.
        attention: `(batch, basis kernels, bands)`.
        weight: `(basis kernels, channels, inputs, size, size)`, odd size.

    Returns: `(batch, channels, bands, frames)`.
    """
    batch, inputs, bands, frames = x.shape
    _, channels, _, size, _ = weight.shape
    margin = size // 2
    kernels = torch.einsum("nkb,kcijt->nbcijt", attention, weight)
    kernels = kernels.reshape(batch * bands * channels, inputs * size, size)
    padded = functional.pad(x, (0, 0, margin, margin))
    around = padded.unfold(2, size, 1)  # (batch, inputs, bands, frames, size)
    around = around.permute(0, 2, 1, 4, 3).reshape(1, batch * bands * inputs * size, frames)
    out = functional.conv1d(around, kernels, padding=margin, groups=batch * bands)
    return out.view(batch, bands, channels, frames).transpose(1, 2)
