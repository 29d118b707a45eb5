"""Weights of a checkpoint, ours or published, in networks: for a test, or to start a training."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from desed_task.errors import InputError, shortened
from desed_task.postprocess.methods import TunedParameters
from local.config.load import Config
from local.encoders import DIGEST_KEY, as_trained, configured_encoder
from local.freezing import frozen_parts
from local.results.baseline import Baseline, load_baseline
from local.results.postprocessing import load_tuned
from local.run.checkpoints import (
    OUR_PREFIX,
    checkpoint_config,
    checkpoint_weights,
    read_checkpoint,
)
from local.run.folders import TRAINING_SECONDS
from local.sed_trainer import CrossTaskSED

HEADS = ("strong_head", "attention_head")  # their rows are classes
OPTION = "--init_from_checkpoint"
SCALER, ENCODER = "scaler.", "encoders."
EMBEDDING = "_embedding."
STUDENT, TEACHER = f"{OUR_PREFIX}student.", f"{OUR_PREFIX}teacher."


def _fitting(
    own: Mapping[str, Tensor], stored: Mapping[str, Tensor], names: Collection[str]
) -> set[str]:
    """The names whose stored tensors have our shapes."""
    return {name for name in names if name in stored and stored[name].shape == own[name].shape}


# ---- all weights, for a test ------------------------------------------------------------------


class Tested(NamedTuple):
    """Content of a checkpoint that is tested.

    Attributes:
        module: the networks.
        tuned: tuned parameters of post-processing, by network.
        baseline: see `local.results.baseline`; None: the checkpoint has none.
        training_seconds: CPU seconds of the networks' training; None: unknown.
    """

    module: CrossTaskSED
    tuned: dict[str, TunedParameters]
    baseline: Baseline | None
    training_seconds: float | None


def load_tested(config: Config, checkpoint: Path) -> Tested:
    """Networks of a checkpoint and what belongs to them."""
    content = read_checkpoint(checkpoint)
    weights = checkpoint_weights(content, str(checkpoint))
    has_teacher = any(name.startswith(TEACHER) for name in weights)
    if config.training.mean_teacher != has_teacher:
        training = config.training.model_copy(update={"mean_teacher": has_teacher})
        config = config.model_copy(update={"training": training})
    digest = content.get(DIGEST_KEY)
    encoder = configured_encoder(config, digest, checkpoint)
    module = CrossTaskSED(as_trained(config), encoder=encoder, encoder_digest=digest)
    load_weights(module, weights, str(checkpoint))
    seconds = content.get(TRAINING_SECONDS)
    return Tested(
        module,
        load_tuned(content, str(checkpoint)),
        load_baseline(content, config, str(checkpoint)),
        seconds if isinstance(seconds, float) else None,
    )


def load_weights(module: CrossTaskSED, weights: Mapping[str, Tensor], source: str) -> None:
    """Load weights by our names. Raises InputError for a tensor that is missing or does not fit."""
    own = module.state_dict()
    # The front end follows from the configuration; the published layout names it otherwise.
    wanted = {name for name in own if name.startswith((OUR_PREFIX, ENCODER, SCALER))}
    missing = sorted(wanted - weights.keys())
    misfits = sorted(wanted - set(missing) - _fitting(own, weights, wanted))
    if missing or misfits:
        problem = f"{missing[0]} is missing" if missing else ""
        if misfits:
            name = misfits[0]
            expected, found = tuple(own[name].shape), tuple(weights[name].shape)
            problem = f"{name}: expected {expected}, got {found}"
        raise InputError(
            f"{source}: does not fit the configuration's network ({len(missing)} tensors missing, "
            f"{len(misfits)} of another shape): {problem}"
        )
    module.load_state_dict({name: weights[name] for name in wanted}, strict=False)


# ---- those that fit, to start a training -------------------------------------------------------


class Initial(NamedTuple):
    """Weights by our names, classes, and digest of the encoder, of a checkpoint to start from."""

    weights: dict[str, Tensor]
    classes: Sequence[str]
    encoder_digest: str | None


def read_initial(config: Config, checkpoint: Path) -> Initial:
    """Content of a checkpoint that a training starts from.

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
    weights = checkpoint_weights(content, source)
    return Initial(weights, own.data.classes, content.get(DIGEST_KEY))


def _feature_values(config: Config) -> dict[str, Any]:
    """What a network's input depends on, and the length of its frames, by key."""
    return {
        **{f"feats.{key}": value for key, value in config.feats.model_dump().items()},
        **{f"scaler.{key}": value for key, value in config.scaler.model_dump().items()},
        "data.fs": config.data.fs,
        "time pooling of net.pooling": config.grid.time_pooling,
    }


def start_from(module: CrossTaskSED, checkpoint: Path) -> tuple[str, bool]:
    """Load all weights and statistics of a checkpoint that fit by name and shape.

    A checkpoint without teacher gives the student's weights to the teacher as well. The rows of
    the heads are loaded by the name of the class. An encoder that is trained has the weights of
    the checkpoint's, or those of its source where the checkpoint's was frozen. The layers that join
    embeddings are new where they are of another encoder.

    Returns a line on what was loaded, and whether the scaler's statistics were. Raises InputError
    where no weights fit, where a frozen part would have random weights, where the checkpoint has
    another encoder, and as `read_initial`.
    """
    stored, classes, encoder_digest = read_initial(module.config, checkpoint)
    if encoder_digest != module.encoder_digest:
        stored = {name: each for name, each in stored.items() if EMBEDDING not in name}
    if not any(name.startswith(TEACHER) for name in stored):
        stored |= {
            name.replace("student", "teacher", 1): tensor
            for name, tensor in stored.items()
            if name.startswith((STUDENT, f"{ENCODER}student."))
        }
    own = module.state_dict()
    encoder = _fitting_encoder(own, stored, checkpoint)
    heads = {name for name in own if name.startswith(OUR_PREFIX) and name.split(".")[2] in HEADS}
    scaler = {name for name in own if name.startswith(SCALER)}
    others = {name for name in own if name.startswith(OUR_PREFIX)} - heads
    fitting = _fitting(own, stored, others)
    # Scalars and statistics of one width fit almost any network.
    has_weights = any(own[name].dim() > 1 for name in fitting)
    if _fitting(own, stored, scaler) == scaler:
        fitting |= scaler
    heads_fit = all(
        name in stored and stored[name].shape == (len(classes), *own[name].shape[1:])
        for name in heads
    )
    common = [name for name in module.config.data.classes if heads_fit and name in classes]
    if not common and not has_weights:
        raise InputError(
            f"{OPTION} {checkpoint}: expected weights that fit the configuration's network "
            f"({len(others)} tensors) or its classes, got none"
        )
    all_common = len(common) == len(module.config.data.classes)
    _check_frozen(module, checkpoint, others - fitting | (set() if all_common else heads))
    fitting |= encoder
    loaded = {name: stored[name] for name in fitting}
    if common:
        loaded |= {name: _by_class(own[name], stored[name], module, classes) for name in heads}
    module.load_state_dict(loaded, strict=False)
    line = _line(checkpoint, others | scaler | encoder, fitting, common, module)
    if module.encoders and not encoder:
        line += f"; encoder: as in {module.config.encoder.source}"  # type: ignore[union-attr]
    return line, scaler <= fitting


def _fitting_encoder(
    own: Mapping[str, Tensor], stored: Mapping[str, Tensor], checkpoint: Path
) -> set[str]:
    """Names of a trained encoder's tensors; empty where the checkpoint has none.

    Raises InputError where they do not fit, or where they would not be used.
    """
    names = {name for name in own if name.startswith(ENCODER)}
    trained = {name for name in stored if name.startswith(ENCODER)}
    if trained and not names:
        raise InputError(
            f"{OPTION} {checkpoint}: its encoder was trained: expected encoder.train true, got "
            "a frozen encoder or none"
        )
    wrong = sorted(names - _fitting(own, stored, names)) if trained else []
    if wrong:
        raise InputError(
            f"{OPTION} {checkpoint}: expected weights that fit the encoder of encoder.source, got "
            f"others: {shortened(wrong)}"
        )
    return names & trained


def _check_frozen(module: CrossTaskSED, checkpoint: Path, new: set[str]) -> None:
    """Raise InputError where a part that is not trained would keep tensors with random values."""
    parts = frozen_parts(module.config.training.freeze)
    wrong = sorted({name.removeprefix(OUR_PREFIX) for name in new if name.split(".")[2] in parts})
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
    new = sorted({name.removeprefix(OUR_PREFIX) for name in wanted - fitting})
    new += [f"head of {name}" for name in classes if name not in common]
    text = (
        f"Starting from {checkpoint}: loaded {len(fitting)} of {len(wanted)} tensors, heads of "
        f"{len(common)} of {len(classes)} classes"
    )
    return f"{text}; new: {shortened(new, most=8)}" if new else text
