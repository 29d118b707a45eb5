"""Share and direction of each loss term in the gradient of a network."""

from collections.abc import Mapping, Sequence
from statistics import fmean

import torch
from torch import Tensor, nn

from desed_task.dataio.batch import Batch
from desed_task.evaluation.results import metric_table
from local.sed_trainer import CrossTaskSED

PARTS = {"all": "", "backbone": "backbone."}
"""Prefix of the parameters by part of the network."""


def measure(module: CrossTaskSED, batch: Batch) -> dict[str, dict[str, float]]:
    """By term: its weighted value, and `share` and `cosine` of each part of the network."""
    module.train()
    student, teacher, distorted = module.predict_distorted(batch)
    terms = module.objective.terms(student, teacher, distorted)
    weighted = {
        name: module.objective.total({name: term}, module.config.training.const_max)
        for name, term in terms.items()
    }
    network = module.networks["student"]
    gradients = {name: gradient(loss, network) for name, loss in weighted.items()}
    found = {name: {"value": float(loss.detach())} for name, loss in weighted.items()}
    for part, prefix in PARTS.items():
        flat = {name: flatten(each, prefix) for name, each in gradients.items()}
        norms = sum(float(each.norm()) for each in flat.values())
        total = torch.stack(list(flat.values())).sum(dim=0)
        for name, own in flat.items():
            cosine = nn.functional.cosine_similarity(own, total - own, dim=0)
            found[name] |= {
                f"share, {part}": float(own.norm()) / norms,
                f"cosine, {part}": float(cosine),
            }
    return found


def gradient(loss: Tensor, network: nn.Module) -> dict[str, Tensor]:
    """Gradient of a loss by name of the parameter; 0 where it does not depend on one."""
    named = {name: each for name, each in network.named_parameters() if each.requires_grad}
    if not loss.requires_grad:  # a term without clips in this batch
        return {name: torch.zeros_like(each) for name, each in named.items()}
    gradients = torch.autograd.grad(
        loss, list(named.values()), retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return dict(zip(named, gradients, strict=True))


def flatten(gradients: Mapping[str, Tensor], prefix: str) -> Tensor:
    """One vector of the gradients of parameters whose names begin with `prefix`."""
    return torch.cat(
        [each.flatten() for name, each in gradients.items() if name.startswith(prefix)]
    )


def table(measured: Sequence[Mapping[str, Mapping[str, float]]]) -> str:
    """Means over the steps, a line per term."""
    terms = list(measured[0])
    means = {
        column: {term: fmean(step[term][column] for step in measured) for term in terms}
        for column in measured[0][terms[0]]
    }
    return metric_table(dict(zip(terms, terms, strict=True)), means, "term")
