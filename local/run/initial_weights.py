"""A new training that starts from trained weights, `--init_from_checkpoint`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from desed_task.errors import InputError, shortened
from local.config.load import Config
from local.freezing import frozen_parts
from local.run.checkpoints import checkpoint_config, checkpoint_weights, read_checkpoint
from local.sed_trainer import CrossTaskSED

HEADS = ("strong_head", "attention_head")  # their rows are classes
OPTION = "--init_from_checkpoint"
SCALER = "scaler."


def read_initial(config: Config, checkpoint: Path) -> tuple[dict[str, Tensor], Sequence[str]]:
    """Weights by our names, and classes, of a checkpoint that a training starts from.

    Raises InputError where its features differ from the configuration's, which would make the
    weights meaningless.
    """
    content, source = read_checkpoint(checkpoint), str(checkpoint)
    own = checkpoint_config(content, source)
    before, now = _feature_values(own), _feature_values(config)
    wrong = [
        f"{key} (expected {before[key]}, got {value})"
        for key, value in now.items()
        if before[key] != value
    ]
    if wrong:
        raise InputError(
            f"{OPTION} {source}: was trained with other features: {shortened(wrong, most=8)}"
        )
    return checkpoint_weights(content, source), own.data.classes


def _feature_values(config: Config) -> dict[str, Any]:
    """What a network's input depends on, and the length of its frames, by key."""
    return {
        **{f"feats.{key}": value for key, value in config.feats.plain().items()},
        **{f"scaler.{key}": value for key, value in config.scaler.plain().items()},
        "data.fs": config.data.fs,
        "time pooling of net.pooling": config.grid.time_pooling,
    }


def start_from(module: CrossTaskSED, checkpoint: Path) -> tuple[str, bool]:
    """Take all weights and statistics of a checkpoint that fit by name and shape.

    A checkpoint without teacher gives the student's weights to the teacher as well. The rows of
    the heads are taken by the name of the class.

    Returns a line on what was taken, and whether the scaler's statistics were. Raises InputError
    where no weights fit, where a frozen part would start anew, and as `read_initial`.
    """
    weights, classes = read_initial(module.config, checkpoint)
    if not any(name.startswith("networks.teacher.") for name in weights):
        weights |= {
            name.replace(".student.", ".teacher.", 1): tensor
            for name, tensor in weights.items()
            if name.startswith("networks.student.")
        }
    own = module.state_dict()
    heads = {name for name in own if name.startswith("networks.") and name.split(".")[2] in HEADS}
    scaler = {name for name in own if name.startswith(SCALER)}
    others = {name for name in own if name.startswith("networks.")} - heads
    fitting = {name for name in others if _fits(own[name], weights.get(name))}
    if scaler and all(_fits(own[name], weights.get(name)) for name in scaler):
        fitting |= scaler
    heads_fit = all(
        name in weights and weights[name].shape == (len(classes), *own[name].shape[1:])
        for name in heads
    )
    common = [name for name in module.config.data.classes if heads_fit and name in classes]
    # Scalars and statistics of one width fit almost any network.
    if not common and not any(own[name].dim() > 1 for name in fitting & others):
        raise InputError(
            f"{OPTION} {checkpoint}: expected weights that fit the configuration's network "
            f"({len(others)} tensors) or its classes, got none"
        )
    all_common = len(common) == len(module.config.data.classes)
    _check_frozen(module, checkpoint, others - fitting | (set() if all_common else heads))
    taken = {name: weights[name] for name in fitting}
    if common:
        taken |= {name: _by_class(own[name], weights[name], module, classes) for name in heads}
    module.load_state_dict(taken, strict=False)
    return _line(checkpoint, others | scaler, fitting, common, module), scaler <= fitting


def _fits(own: Tensor, stored: Tensor | None) -> bool:
    return stored is not None and stored.shape == own.shape


def _check_frozen(module: CrossTaskSED, checkpoint: Path, anew: set[str]) -> None:
    """Raise InputError where a part that is not trained would keep tensors with random values."""
    parts = frozen_parts(module.config.training.freeze)
    wrong = sorted({name.removeprefix("networks.") for name in anew if name.split(".")[2] in parts})
    if wrong:
        raise InputError(
            f"{OPTION} {checkpoint}: training.freeze: expected weights of the checkpoint in every "
            f"part that is not trained, got new ones in {shortened(wrong)}"
        )


def _by_class(own: Tensor, stored: Tensor, module: CrossTaskSED, classes: Sequence[str]) -> Tensor:
    """A head's tensor with the stored rows of the classes that both have."""
    rows = own.clone()
    for row, name in enumerate(module.config.data.classes):
        if name in classes:
            rows[row] = stored[classes.index(name)].to(rows)
    return rows


def _line(
    checkpoint: Path,
    wanted: set[str],
    fitting: set[str],
    common: Sequence[str],
    module: CrossTaskSED,
) -> str:
    classes = module.config.data.classes
    anew = sorted({name.removeprefix("networks.") for name in wanted - fitting})
    anew += [f"head of {name}" for name in classes if name not in common]
    text = (
        f"Starting from {checkpoint}: {len(fitting)} of {len(wanted)} tensors taken, heads of "
        f"{len(common)} of {len(classes)} classes taken"
    )
    return f"{text}; anew: {shortened(anew, most=8)}" if anew else text
