"""One optimiser step on given batches, with its gradients."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from desed_task.dataio.batch import Batch, ClipKind
from local.config.load import Config
from local.encoders import configured_encoder
from local.sed_trainer import CrossTaskSED

# Nothing random, and no term that depends on which clips were mixed with each other.
PLAIN = (
    "augs.mixup=none",
    "augs.aug_methods=[]",
    "net.dropout=0",
    "net.dropout_output=0",
    "training.n_epochs_warmup=0",
)


def given_batch(config: Config, seed: int = 3) -> Batch:
    """Two synthetic, two weakly labelled and four unlabelled clips of noise."""
    noise = torch.Generator().manual_seed(seed)
    grid = config.grid
    kinds = torch.tensor([ClipKind.SYNTHETIC] * 2 + [ClipKind.WEAK] * 2 + [ClipKind.UNLABELLED] * 4)
    events = torch.rand(8, 10, grid.n_frames, generator=noise) > 0.7
    events[kinds == ClipKind.WEAK] = events[kinds == ClipKind.WEAK][..., :1]
    return Batch(
        audio=0.1 * torch.randn(8, grid.n_samples, generator=noise),
        targets=events.float() * (kinds != ClipKind.UNLABELLED)[:, None, None],
        kind=kinds,
        names=tuple(f"{number}.wav" for number in range(8)),
        seconds=torch.full((8,), grid.clip_seconds, dtype=torch.float64),
    )


def half(batch: Batch, number: int) -> Batch:
    """Every second clip of each kind, from the first (0) or the second (1) on."""
    rows = slice(number, None, 2)
    tensors = {name: getattr(batch, name)[rows] for name in ("audio", "targets", "kind", "seconds")}
    return replace(batch, names=batch.names[rows], **tensors)


class GradientKeeper(CrossTaskSED):
    """Normalises as in evaluation, as does its encoder; keeps the gradients of its only step."""

    gradients: dict[str, Tensor]

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Put the normalisation layers and the encoders into evaluation mode."""
        self.encoders.eval()
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Keep what the optimiser is about to use."""
        parameters = self.named_parameters()
        self.gradients = {name: p.grad.clone() for name, p in parameters if p.grad is not None}


def gradients(config: Config, batches: Sequence[Batch], **options: Any) -> dict[str, Tensor]:
    """Gradients by name in one optimiser step on all batches; options: the trainer's."""
    pl.seed_everything(1, verbose=False)
    module = GradientKeeper(config, encoder=configured_encoder(config))
    trainer = pl.Trainer(
        max_epochs=1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        accumulate_grad_batches=len(batches),
        **{"accelerator": "cpu"} | options,
    )
    given: Any = list(batches)
    trainer.fit(module, DataLoader(given, batch_size=None, collate_fn=lambda batch: batch))
    assert module.global_step == 1
    return module.gradients
