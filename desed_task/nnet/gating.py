"""Gating, dropout and average pooling of a block as one operation on a CPU.

Layer by layer, each of them reads and writes the whole map in memory, and PyTorch pools without
vector instructions. Here one clip after the other goes through all three while it is in the cache,
its pooling a sum of shifted slices, and the gradients need one byte per element for the mask.
"""

from typing import Any

import torch
from torch import Tensor

from desed_task.nnet.dropout import draw_kept, kept_scale

Pooling = tuple[int, int]  # (band, time)


def gated_pool(x: Tensor, gate: Tensor, p: float, pooling: Pooling) -> Tensor:
    """Average pooling of dropout (in training) of x · sigmoid(gate).

    Args:
        x, gate: `(batch, channels, bands, frames)`, on a CPU. Both are used up: `gate`, and `x`
            where no gradients are wanted, hold other values afterwards.
        p: of the dropout; 0 without one.
        pooling: (band, time); bands and frames that fill no window are left out.

    Returns: `(batch, channels, bands // band, frames // time)`.
    """
    return _GatedPool.apply(x, gate, p, pooling)


class _GatedPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Tensor, p: float, pooling: Pooling) -> Tensor:
        with_gradients = any(ctx.needs_input_grad)
        opened = gate.sigmoid_()
        kept = draw_kept(x.shape, p) if p else None
        # Of the window's mean, and of the dropout.
        scale = kept_scale(p) / (pooling[0] * pooling[1])
        clips = []
        for number, (clip, of_clip) in enumerate(zip(x.split(1), opened.split(1), strict=True)):
            gated = clip * of_clip if with_gradients else clip.mul_(of_clip)
            if kept is not None:
                gated.mul_(kept[number])
            clips.append(_sum_windows(gated, pooling).mul_(scale))
        if with_gradients:
            ctx.save_for_backward(x, opened, kept)
            ctx.pooling, ctx.scale = pooling, scale
        return torch.cat(clips)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, opened, kept = ctx.saved_tensors
        grad_x, grad_gate = torch.empty_like(x), torch.empty_like(opened)
        for number, of_clip in enumerate((grad * ctx.scale).split(1)):
            spread = _spread_windows(of_clip, x[:1].shape, ctx.pooling)
            if kept is not None:
                spread.mul_(kept[number])
            clip, part = slice(number, number + 1), opened[number : number + 1]
            torch.mul(spread, part, out=grad_x[clip])
            spread.mul_(x[clip])
            torch.ops.aten.sigmoid_backward.grad_input(spread, part, grad_input=grad_gate[clip])
        return grad_x, grad_gate, None, None


def _sum_windows(x: Tensor, pooling: Pooling) -> Tensor:
    """Sums over windows of (band, time); `x` itself where a window is one element."""
    for dim, factor in zip((2, 3), pooling, strict=True):
        if factor == 1:
            continue
        whole = x.narrow(dim, 0, x.shape[dim] // factor * factor).unflatten(dim, (-1, factor))
        first, second, *others = whole.unbind(dim + 1)
        x = first + second
        for other in others:
            x += other
    return x


def _spread_windows(grad: Tensor, shape: torch.Size, pooling: Pooling) -> Tensor:
    """The gradient of `_sum_windows`: every element of a window gets the window's; of `shape`."""
    for dim, factor in zip((3, 2), reversed(pooling), strict=True):
        size = [*grad.shape]
        size[dim] = shape[dim]
        spread = grad.new_empty(size)
        filled = grad.shape[dim] * factor
        windows = spread.narrow(dim, 0, filled).unflatten(dim, (-1, factor))
        for element in windows.unbind(dim + 1):
            element.copy_(grad)
        spread.narrow(dim, filled, shape[dim] - filled).zero_()
        grad = spread
    return grad
