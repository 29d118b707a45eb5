"""What each loss term contributes to the gradient of a trained network.

python -m local.studies.gradients --checkpoint FILE [--steps 20] [--seed 1]

Reads the training data of the checkpoint's configuration, relative to the current folder. In each
step the gradient of every weighted term is computed by itself, with the consistency weight after
the warm-up; nothing is trained. `share` is a term's part of the sum of all terms' norms, `cosine`
that between its gradient and the sum of the others'. Both are means over the steps, for all
parameters and for those of the backbone, which the tasks share.
"""

import argparse
import itertools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor, nn
from tqdm import tqdm

from desed_task.dataio.batch import Batch
from desed_task.errors import run_cli
from desed_task.evaluation.results import metric_table
from desed_task.files import user_path
from desed_task.options import check_least, command_parser
from local.data import DesedDataModule
from local.rank_state import seed_everything
from local.run.checkpoints import read_checkpoint, test_config
from local.run.weights import load_tested
from local.sed_trainer import CrossTaskSED

PARTS = {"all": "", "backbone": "backbone."}
"""Prefix of the parameters by part of the network."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    args = parse_args(argv)
    content = read_checkpoint(args.checkpoint)
    module, _ = load_tested(test_config(content, None, [], str(args.checkpoint)), args.checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        data = DesedDataModule(module.config, module.config.grid, Path(folder) / "missing.txt")
        data.prepare_data()
        data.setup("fit")
        seed_everything(args.seed)
        batches = itertools.islice(itertools.cycle(data.train_dataloader()), args.steps)
        bar = tqdm(batches, "steps", args.steps)
        measured = [measure(module, batch.with_float_audio()) for batch in bar]
    print(table(measured))
    return 0


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = command_parser("python -m local.studies.gradients", __doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--checkpoint", type=user_path, required=True, help="of a training of this project")
    add("--steps", type=int, default=20, help="batches (default: %(default)s)")
    add("--seed", type=int, default=1, help="of distortions and dropout (default: %(default)s)")
    args = parser.parse_args(argv)
    check_least(args, steps=1)
    return args


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


if __name__ == "__main__":
    run_cli(main)
