"""Parts of the networks that a training does not change, `training.freeze`."""

from collections.abc import Iterable, Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

SCALES = {"sed_fusion": "sed_scale", "sod_fusion": "sod_scale"}  # belong to the fusion


def freeze_parameters(network: nn.Module, parts: Sequence[str]) -> None:
    """Exclude the parts from gradients, and so from the mean teacher's average."""
    for name in frozen_parts(parts):
        getattr(network, name).requires_grad_(False)


def frozen_parts(parts: Sequence[str]) -> set[str]:
    """The network's attributes that belong to the parts: a fusion has its scale."""
    return {*parts, *(SCALES[part] for part in parts if part in SCALES)}


def keep_statistics(networks: Iterable[nn.Module], parts: Sequence[str]) -> None:
    """Let the batch norms of the parts use their statistics in training, and not change them."""
    for network in networks:
        for part in parts:
            for module in getattr(network, part).modules():
                if isinstance(module, _BatchNorm):  # also SyncBatchNorm
                    module.eval()
