"""Bidirectional GRU: PyTorch's on a GPU; on a CPU both directions of a layer in one loop over time.

PyTorch's own loop calls some twenty small operations a step and direction, forward and again for
the gradients. Here a step is six operations forward and four backward, for both directions
together; all that does not depend on the step before is computed for all steps at once.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BiGRU(nn.GRU):
    """`torch.nn.GRU`, bidirectional, batch first; the same parameters, the same numbers.

    Args:
        inputs, cells: width of the input and of each direction.
        layers: one above the other.
        dropout: between the layers.
    """

    def __init__(self, inputs: int, cells: int, layers: int, dropout: float) -> None:
        super().__init__(
            inputs, cells, layers, bidirectional=True, batch_first=True, dropout=dropout
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, frames, inputs)` -> `(batch, frames, 2 cells)`, forwards before backwards.

        On a CPU in float32, under autocast as well.
        """
        if x.device.type != "cpu":
            return super().forward(x)[0]  # type: ignore[has-type]
        with torch.autocast("cpu", enabled=False):
            x = x.float()
            for layer in range(self.num_layers):
                if layer and self.dropout:
                    x = F.dropout(x, self.dropout, self.training)
                x = self._both_directions(x, layer)
        return x

    def _both_directions(self, x: Tensor, layer: int) -> Tensor:
        weights_in, weights_back, bias_in, bias_back = (
            torch.stack([getattr(self, f"{name}_l{layer}{way}") for way in ("", "_reverse")])
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        # Time first, both directions from their own start: (2, frames, batch, inputs).
        series = x.transpose(0, 1)
        entering = torch.stack([series, series.flip(0)]).flatten(1, 2)
        gates = torch.baddbmm(bias_in.unsqueeze(1), entering, weights_in.transpose(1, 2))
        gates = gates.view(2, *series.shape[:2], -1)
        states = _Recurrence.apply(gates, weights_back, bias_back)
        return torch.cat([states[0], states[1].flip(0)], dim=-1).transpose(0, 1)


class _Recurrence(torch.autograd.Function):
    """h(t) = (1 - z) n + z h(t-1), with r, z, n of a GRU, from h = 0.

    Gates of the input `(2, frames, batch, 3 cells)`, weights `(2, 3 cells, cells)` and bias
    `(2, 3 cells)` of the state -> states `(2, frames, batch, cells)`.
    """

    @staticmethod
    def forward(ctx: Any, gates: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
        _, frames, batch, width = gates.shape
        cells = width // 3
        from_state = gates.new_empty(frames, 2, batch, width)
        reset_update = gates.new_empty(frames, 2, batch, 2 * cells)
        candidates, states = (gates.new_empty(frames, 2, batch, cells) for _ in range(2))
        turned, offset = weights.transpose(1, 2).contiguous(), bias.unsqueeze(1)
        inputs = gates.transpose(0, 1)
        state = gates.new_zeros(2, batch, cells)
        steps = zip(
            inputs[..., : 2 * cells].unbind(),
            inputs[..., 2 * cells :].unbind(),
            from_state.unbind(),
            from_state[..., : 2 * cells].unbind(),
            from_state[..., 2 * cells :].unbind(),
            reset_update.unbind(),
            reset_update[..., :cells].unbind(),
            reset_update[..., cells:].unbind(),
            candidates.unbind(),
            states.unbind(),
            strict=True,
        )
        for in_rz, in_n, back, back_rz, back_n, rz, r, z, n, out in steps:
            torch.baddbmm(offset, state, turned, out=back)
            torch.add(in_rz, back_rz, out=rz).sigmoid_()
            torch.addcmul(in_n, r, back_n, out=n).tanh_()
            state = torch.lerp(n, state, z, out=out)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(
                weights, states, candidates, reset_update, from_state[..., 2 * cells :]
            )
        return states.transpose(0, 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        weights, states, n, reset_update, back_n = ctx.saved_tensors
        r, z = reset_update.chunk(2, dim=-1)
        before = torch.cat([torch.zeros_like(states[:1]), states[:-1]])
        # Gradients of the gates' sums are the state's gradient times these, (frames, 2, batch, …).
        of_n = (1 - z) * (1 - n * n)
        factors = torch.cat(
            [of_n * back_n * r * (1 - r), (before - n) * z * (1 - z), of_n * r], dim=-1
        )
        cells = n.shape[-1]
        sums, of_states = torch.empty_like(factors), torch.empty_like(states)
        state = torch.zeros_like(states[0])
        steps = zip(
            grad.transpose(0, 1).unbind(),
            factors.unflatten(-1, (3, cells)).unbind(),
            sums.unbind(),
            sums.unflatten(-1, (3, cells)).unbind(),
            of_states.unbind(),
            z.unbind(),
            strict=True,
        )
        for of_output, factor, back, by_gate, of_state, keep in reversed(list(steps)):
            torch.add(of_output, state, out=of_state)
            torch.mul(of_state.unsqueeze(-2), factor, out=by_gate)
            state = torch.baddbmm(of_state * keep, back, weights)
        grad_gates = torch.cat([sums[..., : 2 * cells], of_states * of_n], dim=-1).transpose(0, 1)
        flat = sums.transpose(0, 1).flatten(1, 2)
        grad_weights = flat.transpose(1, 2) @ before.transpose(0, 1).flatten(1, 2)
        return grad_gates, grad_weights, flat.sum(1)
