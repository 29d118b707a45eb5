"""Batch norm, gating, dropout and pooling of a block as one operation on a CPU.

Written layer by layer, each of them reads and writes the whole map in memory, which costs a CPU
more than the convolutions. Here one clip and one group of bands at a time goes through all of
them while it is in the cache; only the convolution's output and the dropout's mask are kept for
the gradients, and the rest is computed again from them.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from desed_task.nnet.dropout import draw_kept, kept_scale

SMALLEST_MAP = 1 << 21  # elements of a clip; smaller ones cost more in many small operations


def fused_tail(
    x: Tensor,
    norm: nn.BatchNorm2d,
    groups: int,
    linear: nn.Conv2d,
    p: float,
    pooling: tuple[int, int],
) -> Tensor:
    """Average pooling of dropout of g · sigmoid(linear over channels of g), g = norm of x.

    In training mode: batch statistics, running ones updated; gradients as of the layers.

    Args:
        x: `(batch, channels, bands, frames)`.
        norm: of `channels * groups` channels, each a channel's group of neighbouring bands.
        groups: must divide the bands into parts that `pooling` divides.
        linear: 1x1.
        p: of the dropout.
        pooling: (band, time).

    Returns: `(batch, channels, bands / pool, frames / pool)`.
    """
    batch, channels, bands, frames = x.shape
    x = x.contiguous()
    grouped = x.detach().view(batch, channels * groups, bands // groups, frames)
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    mean, variance = torch.ops.aten.batch_norm_update_stats(
        grouped, norm.running_mean, norm.running_var, norm.momentum
    )
    inverse = (variance.float() + norm.eps).rsqrt()
    return _Tail.apply(
        x, mean.float(), inverse, norm.weight, norm.bias, linear.weight, linear.bias, p, pooling
    )


def can_fuse(x: Tensor, groups: int, pooling: tuple[int, int]) -> bool:
    """Whether `fused_tail` takes `(batch, channels, bands, frames)` in training."""
    bands = x.shape[2]
    return (
        x.device.type == "cpu"
        and x[0].numel() >= SMALLEST_MAP
        and bands % groups == 0
        and (groups == 1 or bands // groups % pooling[0] == 0)
    )


class _Tail(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        mean: Tensor,
        inverse: Tensor,
        weight: Tensor,
        bias: Tensor,
        gate_weight: Tensor,
        gate_bias: Tensor,
        p: float,
        pooling: tuple[int, int],
    ) -> Tensor:
        batch, channels, bands, frames = x.shape
        cut = _Cut(x.shape, len(mean) // channels)
        gated = _Gated(cut, mean, inverse, weight, bias, gate_weight, gate_bias, x.dtype)
        band, time = pooling
        out = x.new_empty(batch, channels, bands // band, frames // time)
        kept = draw_kept(x.shape, p) if p else None
        for clip, group in cut.places():
            normed, opened = gated(cut.part(x, clip, group), group)
            normed.mul_(opened)
            if kept is not None:
                normed.mul_(cut.part(kept, clip, group))
            pooled = nn.functional.avg_pool2d(normed.view(channels, -1, frames), pooling)
            rows = pooled.shape[1]
            out[clip, :, group * rows : (group + 1) * rows] = pooled
        out.mul_(kept_scale(p))
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(x, mean, inverse, weight, bias, gate_weight, gate_bias, kept)
            ctx.p, ctx.pooling = p, pooling
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, mean, inverse, weight, bias, gate_weight, gate_bias, kept = ctx.saved_tensors
        channels = x.shape[1]
        cut = _Cut(x.shape, len(mean) // channels)
        gated = _Gated(cut, mean, inverse, weight, bias, gate_weight, gate_bias, x.dtype)
        grad = grad.to(x.dtype) * kept_scale(ctx.p)
        grad_x = torch.empty_like(x)
        grad_gate, grad_offset = torch.zeros(channels, channels), torch.zeros(channels)
        # Of the norm's gradient, and of it times x.
        total, with_x = (torch.zeros(cut.groups, channels) for _ in range(2))
        for clip, group in cut.places():
            part, into = cut.part(x, clip, group), cut.part(grad_x, clip, group)
            normed, opened = gated(part, group)
            spread = _spread(grad[clip], group, cut, ctx.pooling)
            if kept is not None:
                spread.mul_(cut.part(kept, clip, group))
            torch.mul(spread, opened, out=into)
            inner = torch.mul(into, normed, out=spread)
            inner.addcmul_(inner, opened, value=-1)
            grad_gate += inner @ normed.T
            grad_offset += inner.sum(1, dtype=torch.float32)
            into.addmm_(gated.gate.T, inner)
            total[group] += into.sum(1, dtype=torch.float32)
            with_x[group] += torch.mul(into, part, out=normed).sum(1, dtype=torch.float32)
        grad_weight, grad_bias, factors = _norm_gradients(
            total.T.flatten(), with_x.T.flatten(), mean, inverse, weight, cut.count
        )
        of_grad, of_x, constant = (cut.by_group(factor).to(x.dtype) for factor in factors)
        for clip, group in cut.places():
            part, into = cut.part(x, clip, group), cut.part(grad_x, clip, group)
            into.mul_(of_grad[group]).addcmul_(part, of_x[group]).add_(constant[group])
        gate_gradients = (grad_gate.view_as(gate_weight), grad_offset)
        return (grad_x, None, None, grad_weight, grad_bias, *gate_gradients, None, None)


class _Cut:
    """A map cut into parts that fit the cache: one clip's group of bands each.

    Args:
        shape: `(batch, channels, bands, frames)`.
        groups: of bands.

    Attributes:
        count: elements of a channel's group in the batch.
    """

    def __init__(self, shape: torch.Size, groups: int) -> None:
        self.shape, self.groups = shape, groups
        self.batch, self.channels, bands, frames = shape
        self.elements = bands // groups * frames
        self.count = self.batch * self.elements

    def places(self) -> Iterator[tuple[int, int]]:
        """(clip, group) of all."""
        return itertools.product(range(self.batch), range(self.groups))

    def part(self, x: Tensor, clip: int, group: int) -> Tensor:
        """One part of a map, a view: `(channels, elements)`."""
        return x.view(self.batch, self.channels, self.groups, self.elements)[clip, :, group]

    def by_group(self, values: Tensor) -> Tensor:
        """`(channels * groups,)` -> `(groups, channels, 1)`."""
        return values.view(self.channels, self.groups, 1).transpose(0, 1).contiguous()


class _Gated:
    """Normalised part, and the sigmoid of its gate.

    Attributes:
        gate: `(channels, channels)` weights of the gate, in the map's type.
    """

    def __init__(
        self,
        cut: _Cut,
        mean: Tensor,
        inverse: Tensor,
        weight: Tensor,
        bias: Tensor,
        gate_weight: Tensor,
        gate_bias: Tensor,
        dtype: torch.dtype,
    ) -> None:
        scale = inverse * weight
        self.scale = cut.by_group(scale).to(dtype)
        self.shift = cut.by_group(bias - mean * scale).to(dtype)
        self.gate = gate_weight.flatten(1).to(dtype)
        self.offset = gate_bias.to(dtype).unsqueeze(1)

    def __call__(self, part: Tensor, group: int) -> tuple[Tensor, Tensor]:
        """Both `(channels, elements)`."""
        normed = torch.addcmul(self.shift[group], part, self.scale[group])
        return normed, torch.addmm(self.offset, self.gate, normed).sigmoid_()


def _spread(grad: Tensor, group: int, cut: _Cut, pooling: tuple[int, int]) -> Tensor:
    """Gradient before the pooling of one part, `(channels, elements)`.

    `grad` `(channels, bands / pool, frames / pool)` is the clip's.
    """
    _, channels, bands, frames = cut.shape
    rows = grad.shape[1] // cut.groups
    pooled = grad[:, group * rows : (group + 1) * rows].contiguous()
    like = grad.new_empty(()).expand(channels, bands // cut.groups, frames)
    spread = torch.ops.aten.avg_pool2d_backward(
        pooled, like, pooling, pooling, [0, 0], False, True, None
    )
    return spread.view(channels, -1)


def _norm_gradients(
    total: Tensor, with_x: Tensor, mean: Tensor, inverse: Tensor, weight: Tensor, count: int
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Gradients of weight and bias; factors a, b, c of the input's gradient a·g + b·x + c.

    All `(channels * groups,)`; `total`, `with_x` are the sums of g and of g·x, of `count` elements.
    """
    grad_weight = (with_x - mean * total) * inverse
    of_grad = weight * inverse
    of_x = -of_grad * inverse * grad_weight / count
    constant = -of_grad * total / count - of_x * mean
    return grad_weight, total, (of_grad, of_x, constant)
