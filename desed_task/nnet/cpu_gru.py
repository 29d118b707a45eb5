"""Bidirectional GRUs on a CPU, several at once: only because CPUs are slow at small operations.

PyTorch computes one direction of one GRU after the other, in a dozen operations per frame. Here
all directions of all GRUs take a frame together, in six operations, three in the backward pass.
On a GPU `torch.nn.GRU` is one kernel.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout


def run_grus(grus: Sequence[nn.GRU], inputs: Sequence[Tensor]) -> list[Tensor]:
    """The output of each GRU, as `gru(x)[0]` returns it.

    Args:
        grus: bidirectional, with `batch_first` and the same number of cells and layers.
        inputs: `(batch, frames, features)` for each, float32; only the features may differ.

    Returns: `(batch, frames, 2 · cells)` for each.
    """
    xs = [x.transpose(0, 1) for x in inputs]  # (frames, batch, features)
    for layer in range(grus[0].num_layers):
        if layer:
            xs = [dropout(x, gru.dropout, gru.training) for gru, x in zip(grus, xs, strict=True)]
        runs = [run for x in xs for run in (x, x.flip(0))]
        weights = [
            getattr(gru, f"{name}_l{layer}{direction}")
            for gru in grus
            for direction in ("", "_reverse")
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        ]
        states = _Recurrence.apply(len(runs), *runs, *weights).unbind(0)
        xs = [
            torch.cat([forward, backward.flip(0)], dim=-1)
            for forward, backward in zip(states[::2], states[1::2], strict=True)
        ]
    return [x.transpose(0, 1) for x in xs]


class _Recurrence(torch.autograd.Function):
    """One layer of K directions ("runs"), each with its own input and weights.

    With the input's share a = W_ih x + b_ih and the state's share c = W_hh h + b_hh of a frame,
    each in three parts (reset, update, new), PyTorch's GRU is

        r = σ(a_r + c_r)    z = σ(a_z + c_z)    n = tanh(a_n + r · c_n)    h' = n + z · (h - n)

    With the gradient g = ∂L/∂h', which is the output's plus what the next frame hands back,

        ∂L/∂a_n = g · N,          N = (1 - z) · (1 - n²)
        ∂L/∂c_n = g · N · r
        ∂L/∂a_r = ∂L/∂c_r = g · N · c_n · r · (1 - r)
        ∂L/∂a_z = ∂L/∂c_z = g · (h - n) · z · (1 - z)
        ∂L/∂h   = g · z + W_hhᵀ ∂L/∂c

    The factors of g do not depend on g: they are computed for all frames at once, so that a frame
    of the backward pass is a product with the factors, one with z, and one with W_hh. Gradients of
    inputs and weights are matrix products over all frames.
    """

    @staticmethod
    def forward(ctx: Any, runs: int, *tensors: Tensor) -> Tensor:
        """Inputs `(frames, batch, features)` of the runs, then four weights of each run.

        Returns: `(runs, frames, batch, cells)`.
        """
        inputs, weights = tensors[:runs], [tensors[i : i + 4] for i in range(runs, len(tensors), 4)]
        frames, batch, _ = inputs[0].shape
        cells = weights[0][1].shape[1]
        shares = inputs[0].new_empty(runs, frames * batch, 3 * cells)
        for x, (w_ih, _, b_ih, b_hh), share in zip(inputs, weights, shares, strict=True):
            bias = b_ih.clone()
            bias[: 2 * cells] += b_hh[: 2 * cells]  # c_r and c_z are added anyway
            torch.addmm(bias, x.reshape(frames * batch, -1), w_ih.t(), out=share)
        shares = shares.view(runs, frames, batch, 3 * cells)
        w_hh = torch.stack([weight[1] for weight in weights])
        b_hh = torch.stack([weight[3] for weight in weights]).unsqueeze(1).clone()
        b_hh[..., : 2 * cells] = 0
        states = shares.new_zeros(runs, frames + 1, batch, cells)
        w_hh_t = w_hh.transpose(1, 2)
        needs_gradients = any(ctx.needs_input_grad)
        new_shares = torch.empty_like(states[:, 1:]) if needs_gradients else None  # c_n
        c = shares.new_empty(runs, batch, 3 * cells)
        state, *later = states.unbind(1)
        for frame, (share, next_state) in enumerate(zip(shares.unbind(1), later, strict=True)):
            torch.baddbmm(b_hh, state, w_hh_t, out=c)
            share[..., : 2 * cells].add_(c[..., : 2 * cells]).sigmoid_()
            r, z, n = share.split(cells, dim=-1)
            # tanh(x) = 2 σ(2 x) - 1: PyTorch's tanh takes ten times as long as its sigmoid.
            n.addcmul_(r, c[..., 2 * cells :]).mul_(2).sigmoid_().mul_(2).sub_(1)
            torch.lerp(n, state, z, out=next_state)
            if new_shares is not None:
                new_shares[:, frame] = c[..., 2 * cells :]
            state = next_state
        if needs_gradients:
            ctx.runs, ctx.cells = runs, cells
            w_ihs = [weight[0] for weight in weights]
            ctx.save_for_backward(shares, new_shares, states, w_hh, *inputs, *w_ihs)
        return states[:, 1:]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        """Gradients of the inputs and of the four weights of each run."""
        shares, new_shares, states, w_hh, *saved = ctx.saved_tensors
        inputs, w_ihs = saved[: ctx.runs], saved[ctx.runs :]
        cells, (runs, frames, batch, _) = ctx.cells, grad.shape
        r, z, n = shares.split(cells, dim=-1)
        to_new = (1 - z).mul_(1 - n * n)  # N
        factors = torch.empty_like(shares)
        to_r, to_z, to_c = factors.split(cells, dim=-1)
        torch.mul(to_new, r, out=to_c)
        torch.mul(to_c, new_shares, out=to_r).mul_(1 - r)
        torch.sub(states[:, :-1], n, out=to_z).mul_(z).mul_(1 - z)
        grads = grad.clone()  # becomes g
        parts = factors.view(runs, frames, batch, 3, cells).unbind(1)
        gs, zs = grads.unbind(1), z.unbind(1)
        for number in range(frames - 1, -1, -1):
            part, g = parts[number], gs[number]
            part.mul_(g.unsqueeze(2))
            if number:
                before = gs[number - 1].addcmul_(g, zs[number])
                before.baddbmm_(part.flatten(2), w_hh)
        d_recurrent = factors.view(runs, frames * batch, 3 * cells)
        d_w_hh = torch.bmm(d_recurrent.transpose(1, 2), states[:, :-1].reshape(runs, -1, cells))
        d_b_hh = d_recurrent.sum(1)
        torch.mul(grads, to_new, out=to_c)  # now the gradients of the shares
        d_b_ih = d_recurrent.sum(1)
        d_inputs, d_weights = [], []
        for run, (x, w_ih, d_share) in enumerate(zip(inputs, w_ihs, d_recurrent, strict=True)):
            rows = x.reshape(frames * batch, -1)
            d_inputs.append((d_share @ w_ih).view(x.shape))
            d_weights += [d_share.t() @ rows, d_w_hh[run], d_b_ih[run], d_b_hh[run]]
        return None, *d_inputs, *d_weights
