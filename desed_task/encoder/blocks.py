"""Parts of an encoder that is trained, with a learning rate for each: blocks, and what is around.

Source: docs/encoders.md, "Fine-tuning".
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from desed_task.encoder.encoder import FrameEncoder
from desed_task.errors import InputError


class EncoderPart(NamedTuple):
    """Parameters with one learning rate.

    Attributes:
        name: `below` the first block, `block N` (from 1), or `above` the last block; `whole` of an
            encoder without blocks.
        rate: learning rate.
        parameters: those that are trained, at least one.
    """

    name: str
    rate: float
    parameters: list[nn.Parameter]


def train_parts(encoder: FrameEncoder) -> list[EncoderPart]:
    """Set training mode, exclude all other parameters from gradients; returns the trained parts.

    The parts begin with the lowest. A block's rate is `lr` times `layer_decay` for each trained
    block above it; the part below continues the series, the part above has `lr`. Parameters that
    the embeddings do not depend on are not trained: blocks above the hidden layers that are used.

    Raises InputError for an encoder without gradients, and for settings that need blocks where
    none are found.
    """
    settings = encoder.settings
    order = _reached(encoder)  # the parameters by the time of their module's first call
    blocks = find_blocks(encoder)
    while blocks and not _of(blocks[-1], order):
        blocks.pop()
    wanted = settings.trained_blocks
    for key, single in (("trained_blocks", None), ("layer_decay", 1)):
        if not blocks and getattr(settings, key) != single:
            raise InputError(
                f"{settings.source}: encoder.{key}: expected {single or 'null'} for an encoder "
                "without blocks (a list of modules of one class), got "
                f"{getattr(settings, key)}"
            )
    if wanted is not None and wanted > len(blocks):
        raise InputError(
            f"{settings.source}: encoder.trained_blocks: expected at most {len(blocks)}, the "
            f"number of its blocks that the embeddings depend on, got {wanted}"
        )
    trained = [
        EncoderPart(name, settings.lr * settings.layer_decay**blocks_above, parameters)
        for name, blocks_above, parameters in _parts(blocks, order)
        if wanted is None or blocks_above < wanted
    ]
    _drop_graphs(encoder)
    kept = {parameter for part in trained for parameter in part.parameters}
    for parameter in encoder.parameters():
        parameter.requires_grad_(parameter in kept)
    encoder.train()
    return trained


def find_blocks(encoder: nn.Module) -> list[nn.Module]:
    """The list of at least two modules of one class that has the most parameters; else empty."""
    lists = [
        list(module.children())
        for module in encoder.modules()
        if all(name.isdigit() for name, _ in module.named_children())
    ]
    alike = [each for each in lists if len(each) > 1 and len({*map(type, each)}) == 1]
    return max(alike, key=_size, default=[])


def keep_untrained_statistics(encoders: Sequence[nn.Module]) -> None:
    """Let the batch norms that the first encoder does not train use their stored statistics.

    Args:
        encoders: the student's, and copies of it.
    """
    for copies in zip(*(encoder.modules() for encoder in encoders), strict=True):
        if isinstance(copies[0], _BatchNorm) and not any(
            parameter.requires_grad for parameter in copies[0].parameters()
        ):
            for module in copies:
                module.eval()


def _drop_graphs(encoder: nn.Module) -> None:
    """Detach tensors that modules remember, as `weight_norm`'s weights: only leaves are copied."""
    for module in encoder.modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor):
                setattr(module, name, value.detach())


def _size(blocks: Sequence[nn.Module]) -> int:
    return sum(parameter.numel() for block in blocks for parameter in block.parameters())


def _parts(
    blocks: Sequence[nn.Module], order: Sequence[nn.Parameter]
) -> list[tuple[str, int, list[nn.Parameter]]]:
    """Name, number of blocks above it and parameters of each part, from the lowest."""
    if not blocks:
        return [("whole", 0, list(order))]
    own = [_of(block, order) for block in blocks]
    within = {parameter for parameters in own for parameter in parameters}
    positions = [number for number, parameter in enumerate(order) if parameter in within]
    below = list(order[: positions[0]])
    above = [parameter for parameter in order[positions[0] :] if parameter not in within]
    parts = [("below", len(blocks), below)]
    parts += [
        (f"block {number}", len(blocks) - number, parameters)
        for number, parameters in enumerate(own, start=1)
    ]
    return [part for part in (*parts, ("above", 0, above)) if part[2]]


def _of(block: nn.Module, order: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    """Parameters of a block that are among the given ones."""
    known = set(order)
    return [parameter for parameter in block.parameters() if parameter in known]


def _reached(encoder: FrameEncoder) -> list[nn.Parameter]:
    """Parameters that get a gradient from the embeddings, in the order in which they are used.

    That of the first calls of the modules that have them, for a clip of silence. Modules that are
    not called, as those of an exported program, are in the order of their definition.

    Raises InputError where there are none.
    """
    source, function = encoder.settings.source, encoder.function
    if not isinstance(function, nn.Module):
        raise InputError(
            f"{source}: encoder.train: expected an nn.Module, got {type(function).__name__}, "
            "which has no gradients"
        )
    parameters = [p for p in function.parameters() if p.requires_grad]
    if not parameters:
        raise InputError(f"{source}: encoder.train: expected parameters with gradients, got none")
    called: dict[nn.Module, int] = {}

    def note(module: nn.Module, _: object) -> None:
        called.setdefault(module, len(called))

    hooks = [module.register_forward_pre_hook(note) for module in function.modules()]
    try:
        steps = encoder.steps(torch.zeros(1, encoder.grid.n_samples))
    finally:
        for hook in hooks:
            hook.remove()
    if not steps.requires_grad:
        raise InputError(
            f"{source}: encoder.train: expected an output with gradients, got one without "
            "(detached, or computed without them)"
        )
    gradients = torch.autograd.grad(steps.sum(), parameters, allow_unused=True)
    reached = {p for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None}
    position, ordered = 0, []
    for module in function.modules():
        position = called.get(module, position)
        ordered += [(position, p) for p in module.parameters(recurse=False) if p in reached]
    ordered.sort(key=lambda pair: pair[0])
    return list(dict.fromkeys(parameter for _, parameter in ordered))
