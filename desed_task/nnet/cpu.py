"""Layers for a CPU: everything that exists only because CPUs are slow.

PyTorch draws dropout masks one number after the other, and pools without vector instructions;
layer by layer, normalisation, gating, dropout and pooling each move the whole map through memory.
Here maps are channels-last in memory, which convolutions are fastest with, and a small piece of
the map goes through all these layers while the cache holds it. On a GPU the blocks use PyTorch's
own layers (`desed_task.nnet.blocks`), which compute the same. The same holds for
`band_convolution` and `desed_task.nnet.frequency_dynamic`; GRUs are in `desed_task.nnet.cpu_gru`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

_STEPS = 1 << 16  # an element is dropped by 16 random bits: p is a multiple of 1 / _STEPS
_BYTES = 2  # the same 16 bits
_PIECE = 1 << 17  # elements of a map that are computed together, with a few copies, in the cache
_MIN_COLUMNS = 16  # of an efficient matrix product

Pooling = tuple[int, int]  # (band, time)


class DropoutMasks:
    """Random masks of dropout with probability `p`, rounded to a multiple of 1/65536.

    NumPy's SFC64 generates the bits in half the time of PyTorch's generator. Its seed is one draw
    from PyTorch's generator, so that a restored PyTorch state also restores the masks.

    Attributes:
        scale: 1 / (1 - p), the factor for an equal expectation of the kept elements' sum.
    """

    def __init__(self, p: float) -> None:
        # 16 bits are a number from -_STEPS / 2: the smallest round(p * _STEPS) of them are dropped.
        dropped = round(p * _STEPS)
        self.scale = _STEPS / (_STEPS - dropped)
        self._first_kept = np.int16(dropped - _STEPS // 2)
        self._bits = np.random.SFC64(int(torch.randint(2**63 - 1, ())))

    def draw(self, shape: Sequence[int]) -> NDArray[np.bool_]:
        """The next mask: False for elements to drop."""
        size = math.prod(shape)
        words = self._bits.random_raw(-(-size * _BYTES // 8))  # of 8 bytes, rounded up
        return (words.view(np.int16)[:size] >= self._first_kept).reshape(shape)


class Dropout(nn.Module):
    """`torch.nn.Dropout`, whose mask on a CPU comes from `DropoutMasks`."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        if not self.training or self.p == 0 or x.device.type != "cpu":
            return nn.functional.dropout(x, self.p, self.training)
        masks = DropoutMasks(self.p)
        kept = torch.from_numpy(masks.draw(x.shape))
        return x * kept.to(x.dtype).mul_(masks.scale)

    def extra_repr(self) -> str:
        """Settings, for the network's description."""
        return f"p={self.p}"


def is_exported() -> bool:
    """Whether an export records the layers; what it writes has PyTorch's own."""
    return torch.jit.is_tracing() or torch.compiler.is_exporting()


def channels_last(x: Tensor) -> Tensor:
    """`(batch, channels, bands, frames)` whose channels are neighbours in memory."""
    if x.shape[1] == 1:  # otherwise PyTorch takes one channel for the usual layout
        return x.contiguous().squeeze(1).unsqueeze(3).permute(0, 3, 1, 2)
    return x.contiguous(memory_format=torch.channels_last)


def norm_gate_pool(
    x: Tensor,
    norm: nn.BatchNorm2d,
    groups: int,
    gate: nn.Conv2d,
    masks: DropoutMasks | None,
    pooling: Pooling,
) -> Tensor:
    """Batch norm, context gating, dropout and average pooling in a few passes over memory.

    Args:
        x: `(batch, channels, bands, frames)`, on a CPU.
        norm: of channels · groups, numbered as in `desed_task.nnet.blocks.SubSpectralBatchNorm`;
            in training mode its running statistics are updated.
        groups: groups of bands with separate statistics.
        gate: the gate's convolution, 1 x 1.
        masks: of the dropout; None for no dropout.
        pooling: (band, time); `band` divides the bands, frames at the end that fill no window are
            ignored.

    Returns: `(batch, channels, bands // band, frames // time)`, channels-last, in the type of `x`.
    """
    with torch.autocast("cpu", enabled=False):
        x = channels_last(x)
        pieces = list(_pieces(x.shape, groups, pooling[0]))
        weight, bias = (_by_group(p, groups) for p in (norm.weight, norm.bias))
        with torch.no_grad():
            if norm.training:
                mean, variance = _statistics(x, pieces, groups)
                _update(norm, mean, variance, count=x.numel() // norm.num_features)
            else:
                running = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
                mean, variance = (_by_group(buffer, groups) for buffer in running)
            inverse = (variance + norm.eps).rsqrt()
        tail = _Tail(pieces, norm.training, masks, pooling)
        gate_weight, gate_bias = gate.weight.flatten(1), cast(Tensor, gate.bias)
        return _NormGatePool.apply(x, weight, bias, gate_weight, gate_bias, mean, inverse, tail)


class _Piece(NamedTuple):
    """Neighbouring bands: of some clips all, or of one clip whole groups or a part of one.

    Attributes:
        shape: clips, groups, bands of each group, frames · channels. Long lines of neighbouring
            elements are what vector instructions need.
        groups: the groups among the clip's.
    """

    shape: tuple[int, int, int, int]
    groups: slice


class _Tail(NamedTuple):
    pieces: list[_Piece]
    uses_batch: bool  # whether mean and deviation are the batch's
    masks: DropoutMasks | None
    pooling: Pooling


def _pieces(shape: torch.Size, groups: int, window: int) -> Iterator[_Piece]:
    """The pieces of a channels-last map, each of whole windows of bands, small enough to cache."""
    clips, channels, bands, frames = shape
    group, line = bands // groups, frames * channels
    sizes = [
        size
        for size in range(window, bands + 1, window)
        if bands % size == 0 and (size % group == 0 or group % size == 0)
    ]
    size = max((size for size in sizes if size * line <= _PIECE), default=sizes[0])
    step = max(1, _PIECE // (bands * line)) if size == bands else 1
    for clip in range(0, clips, step):
        number = min(step, clips - clip)
        for band in range(0, bands, size):
            first, some = band // group, max(1, size // group)
            yield _Piece((number, some, min(size, group), line), slice(first, first + some))


def _flat(x: Tensor) -> Tensor:
    """A channels-last map as one row, in the order of its memory."""
    return x.permute(0, 2, 3, 1).reshape(-1)


def _split(flat: Tensor, pieces: list[_Piece], ratio: float = 1) -> Sequence[Tensor]:
    """The pieces of a flat map; `ratio`: its elements for each of the pieces' own."""
    return flat.split([round(math.prod(piece.shape) * ratio) for piece in pieces])


def _by_group(values: Tensor, groups: int) -> Tensor:
    """`(channels · groups,)` of a norm -> `(groups, channels)`."""
    return values.view(-1, groups).t()


def _as_lines(values: Tensor, frames: int) -> Tensor:
    """`(groups, channels)` -> `(groups, 1, frames · channels)`, to be broadcast to pieces."""
    return values.repeat(1, frames).unsqueeze(1)


def _statistics(x: Tensor, pieces: list[_Piece], groups: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of each group and channel, `(groups, channels)`, float32."""
    _, channels, _, frames = x.shape
    flat = _split(_flat(x), pieces)

    def mean_of(function: Callable[[Tensor, slice], Tensor]) -> Tensor:
        sums = x.new_zeros(groups, frames * channels, dtype=torch.float32)
        for piece, values in zip(pieces, flat, strict=True):
            lines = function(values.view(piece.shape).float(), piece.groups)
            sums[piece.groups] += _sum_lines(lines)
        return sums.view(groups, frames, channels).sum(1) * (groups * channels / x.numel())

    mean = mean_of(lambda lines, _: lines)
    centre = _as_lines(mean, frames)
    return mean, mean_of(lambda lines, of: (lines - centre[of]).square_())


def _sum_lines(lines: Tensor) -> Tensor:
    """Sum over clips and bands; PyTorch's over both at once takes up to twenty times as long."""
    return (lines[0] if len(lines) == 1 else lines.sum(0)).sum(1)


def _update(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: int) -> None:
    """Move the running statistics as PyTorch does, with the variance of a sample of `count`."""
    pairs = ((norm.running_mean, mean), (norm.running_var, variance * (count / (count - 1))))
    for running, new in pairs:
        cast(Tensor, running).lerp_(new.t().reshape(-1), cast(float, norm.momentum))
    cast(Tensor, norm.num_batches_tracked).add_(1)


def _widened(weight: Tensor, piece: _Piece) -> Tensor:
    """A matrix for several frames at once (block diagonal): narrow products are slow."""
    frames = math.prod(piece.shape[2:]) // len(weight)
    return torch.block_diag(*[weight] * math.gcd(frames, max(1, _MIN_COLUMNS // len(weight))))


class _NormGatePool(torch.autograd.Function):
    """Norm, gate, dropout and average pooling, with given statistics of the norm.

        y[w] = c · Σ over i in window w of n[i] · p[i], with
        x̂ = (x - mean) / deviation    n = γ x̂ + β    p = m · σ(W n + b)

    m is the mask (1 kept, 0 dropped), and the constant c joins two factors: the mask's scale and
    1 / (elements of a window). With e[i] = c · ∂L/∂y[w(i)], the gradient that the window w(i) of
    element i hands to it (0 for an element that is in no window), and v = W n + b, the chain rule
    gives

        ∂L/∂v = e · n · p · (1 - p)       since σ' = σ (1 - σ), and where m is 0, so is p
        ∂L/∂n = e · p + Wᵀ ∂L/∂v          =: g
        ∂L/∂W = Σ ∂L/∂v nᵀ    ∂L/∂b = Σ ∂L/∂v    ∂L/∂β = Σ g    ∂L/∂γ = Σ g x̂
        ∂L/∂x = γ / deviation · (g - ∂L/∂β / M - x̂ · ∂L/∂γ / M)

    with sums over the M elements of a channel and group; without the terms in 1 / M where the
    statistics are not the batch's. So x and p are all that the backward pass needs: n is computed
    again while x is in the cache, and masks, sigmoids and the norm's output are not stored.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        gate_weight: Tensor,
        gate_bias: Tensor,
        mean: Tensor,
        inverse: Tensor,
        tail: _Tail,
    ) -> Tensor:
        """γ, β, mean and 1 / deviation: `(groups, channels)`."""
        clips, channels, bands, frames = x.shape
        (pieces, _, masks, pooling), (band, time) = tail, tail.pooling
        factor = (1.0 if masks is None else masks.scale) / (band * time)
        scale = _as_lines(weight * inverse, frames)
        offset = _as_lines(bias - weight * inverse * mean, frames)
        matrix = _widened(gate_weight, pieces[0]).to(x.dtype)
        vector = gate_bias.repeat(len(matrix) // channels).to(x.dtype)
        flat = _flat(x)
        pooled = x.new_empty(clips, bands // band, frames // time, channels)
        outs = _split(pooled.view(-1), pieces, pooled.numel() / x.numel())
        needs_gradients = any(ctx.needs_input_grad)
        gates = torch.empty_like(flat) if needs_gradients else None  # p
        stored = [None] * len(pieces) if gates is None else _split(gates, pieces)
        for piece, values, store, out in zip(
            pieces, _split(flat, pieces), stored, outs, strict=True
        ):
            lines = values.view(piece.shape).float()
            normed = torch.addcmul(offset[piece.groups], lines, scale[piece.groups])
            rows = normed.view(-1, len(matrix)).to(x.dtype)
            gate = torch.addmm(vector, rows, matrix.t()).float().sigmoid_().view(-1)
            if masks is not None:
                array = gate.numpy()
                np.multiply(array, masks.draw(array.shape), out=array)
            if store is not None:
                store.copy_(gate)
            gated = normed.view(-1).mul_(gate).view(len(normed), -1, frames, channels)
            gated = _sum_windows(gated, pooling)
            torch.mul(gated, factor, out=out.view(gated.shape))
        if needs_gradients:
            ctx.save_for_backward(x, gates, weight, bias, mean, inverse, gate_weight)
            ctx.tail, ctx.factor = tail, factor
        return pooled.permute(0, 3, 1, 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        """Gradients of x, γ, β, W and b."""
        x, gates, weight, bias, mean, inverse, gate_weight = ctx.saved_tensors
        (pieces, uses_batch, _, (band, time)), frames, channels = ctx.tail, x.shape[3], x.shape[1]
        inverses, centre = _as_lines(inverse, frames), _as_lines(-inverse * mean, frames)
        scale, offset = _as_lines(weight, frames), _as_lines(bias, frames)
        matrix = _widened(gate_weight, pieces[0]).to(x.dtype)
        flat = _split(_flat(x), pieces)
        d_x = torch.empty_like(gates)
        d_pieces = _split(d_x, pieces)  # first g, then the gradient of x
        d_matrix = torch.zeros_like(matrix, dtype=torch.float32)
        d_vector = d_matrix.new_zeros(frames * channels)
        d_weight, d_bias = d_matrix.new_zeros(2, len(mean), frames * channels)
        windows = _split(_flat(grad), pieces, grad.numel() / x.numel())
        for piece, values, gate, window, d_piece in zip(
            pieces, flat, _split(gates, pieces), windows, d_pieces, strict=True
        ):
            lines = values.view(piece.shape).float()
            standard = torch.addcmul(centre[piece.groups], lines, inverses[piece.groups])  # x̂
            normed = torch.addcmul(offset[piece.groups], standard, scale[piece.groups])  # n
            gate = gate.float()
            spread = _spread(window.float() * ctx.factor, time, frames, channels)
            g = (gate.view(-1, band, frames * channels) * spread).view(piece.shape)  # e · p
            d_gate = normed.mul(g).view(-1)
            d_gate.addcmul_(d_gate, gate, value=-1)
            d_rows = d_gate.view(-1, len(matrix)).to(x.dtype)
            d_matrix += d_rows.t() @ normed.view(d_rows.shape).to(x.dtype)
            d_vector += d_gate.view(-1, frames * channels).sum(0)
            g += (d_rows @ matrix).view(piece.shape)
            d_bias[piece.groups] += _sum_lines(g)
            d_weight[piece.groups] += _sum_lines(standard.mul_(g))
            d_piece.copy_(g.view(-1))
        d_weight, d_bias = (
            sums.view(len(mean), frames, channels).sum(1) for sums in (d_weight, d_bias)
        )
        scale = _as_lines(weight * inverse, frames)
        share = weight * inverse * (mean.numel() / x.numel() if uses_batch else 0)
        slope = _as_lines(-share * inverse * d_weight, frames)
        offset = _as_lines(share * (inverse * mean * d_weight - d_bias), frames)
        for piece, values, d_piece in zip(pieces, flat, d_pieces, strict=True):
            lines, g = values.view(piece.shape).float(), d_piece.view(piece.shape)
            gradient = torch.addcmul(offset[piece.groups], lines, slope[piece.groups])
            g.copy_(gradient.addcmul_(g.float(), scale[piece.groups]))
        blocks = d_matrix.unflatten(0, (-1, channels)).unflatten(2, (-1, channels))
        return (
            d_x.view(x.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2),
            d_weight,
            d_bias,
            blocks.diagonal(dim1=0, dim2=2).sum(-1),
            d_vector.view(frames, channels).sum(0),
            *(None, None, None),
        )


def _sum_windows(x: Tensor, pooling: Pooling) -> Tensor:
    """Sum over each window of `(clips, bands, frames, channels)`, which may be `x` itself.

    Sums of strided slices are vectorised.
    """
    for dim, size in zip((1, 2), pooling, strict=True):
        if size == 1:
            continue
        windows = x.narrow(dim, 0, x.shape[dim] // size * size).unflatten(dim, (-1, size))
        first, second, *others = windows.unbind(dim + 1)
        x = first + second
        for other in others:
            x += other
    return x


def _spread(windows: Tensor, time: int, frames: int, channels: int) -> Tensor:
    """Flat windows of bands and frames -> `(bands of windows, 1, frames · channels)`.

    Each frame gets its window's value, 0 without one.
    """
    number = frames // time
    if time == 1:
        return windows.view(-1, 1, frames * channels)
    spread = windows.new_zeros(windows.numel() // (number * channels), frames, channels)
    filled = spread[:, : number * time].unflatten(1, (number, time))
    filled.copy_(windows.view(-1, number, 1, channels))
    return spread.view(-1, 1, frames * channels)


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
