"""One training step divided into its parts, ours and the reference's, on the same clips.

Without Lightning's loop: for tests that look at single parts, and for `python -m benchmarks step`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from desed_task.augment import AugmentContext, DistortedBatch, distort
from desed_task.dataio.batch import Batch, ClipKind
from desed_task.ema import MeanTeacher, make_teacher
from desed_task.errors import InputError
from desed_task.nnet.crnn import SEDOutput
from local.config.load import Config
from local.sed_trainer import CrossTaskSED
from tests.support import reference
from tests.support.classes import CLASSES
from tests.support.reference_network import ReferenceCRNN, reference_weights

DTYPES = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}
NARROW = (
    "data.audio_max_len=1",
    "net.nb_filters=[4, 4, 8, 8, 8]",
    "net.sed_filters=[8, 8]",
    "net.n_RNN_cell=4",
)
"""Overrides of `confs/sed.yaml`: clips of a second, few channels, all layers."""

COPIES = 3  # of every clip: original, mixed, augmented
KIND_RATIO = (1, 1, 2)  # synthetic : weak : unlabelled, the published recipe's
CONSISTENCY_WEIGHT = 1.0  # w of the step
LOADING = "loading"
AUGMENT_SEED = 1000  # of the first step; each later step adds 1


def clips_per_kind(clips: int) -> list[int]:
    """Originals of each kind, in the order of `ClipKind`, for `clips` inputs of the network.

    Raises InputError for a number that the kinds cannot share.
    """
    unit = COPIES * sum(KIND_RATIO)
    if clips < 1 or clips % unit:
        raise InputError(f"--clips: expected a multiple of {unit}, got {clips}")
    return [clips // unit * part for part in KIND_RATIO]


def random_batch(clips: int, config: Config, device: torch.device) -> Batch:
    """Originals for `clips` inputs of the network: noise with random frame labels."""
    generator = torch.Generator().manual_seed(0)
    kinds = [
        int(kind)
        for kind, number in zip(ClipKind, clips_per_kind(clips), strict=False)
        for _ in range(number)
    ]
    grid = config.grid
    targets = torch.rand(len(kinds), len(CLASSES), grid.n_frames, generator=generator) > 0.9
    embeddings = None
    if config.encoder is not None:
        shape = len(kinds), *embeddings_shape(config)
        embeddings = torch.randn(shape, generator=generator).half()
    batch = Batch(
        audio=0.1 * torch.randn(len(kinds), grid.n_samples, generator=generator),
        targets=targets.float(),
        kind=torch.tensor(kinds),
        names=tuple(map(str, range(len(kinds)))),
        seconds=torch.full((len(kinds),), grid.clip_seconds, dtype=torch.float64),
        embeddings=embeddings,
    )
    return batch.to(device)


def embeddings_shape(config: Config) -> tuple[int, int]:
    """Steps and width of the stored embeddings of a clip."""
    encoder = config.encoder
    assert encoder is not None
    return int(config.grid.clip_seconds / encoder.frame_seconds), encoder.width


class TrainingStep:
    """The parts of a step in their order; each reads the attributes that the last one set.

    Args:
        config: the experiment.
        batch: originals on the device.
        precision: of the networks (autocast), a key of `DTYPES`.
        batches: if given, each step begins with loading the next of them.
    """

    student: nn.Module
    teacher: nn.Module
    optimizer: torch.optim.Optimizer
    distorted: DistortedBatch
    inputs: Tensor
    loss: Tensor

    def __init__(
        self,
        config: Config,
        batch: Batch,
        precision: str = "32",
        batches: Iterator[Batch] | None = None,
    ) -> None:
        self.config, self.batch, self.batches = config, batch, batches
        self.device = batch.audio.device
        self.dtype = DTYPES[precision]
        self.steps = 0  # done
        self.outputs: dict[str, SEDOutput] = {}
        self.embeddings: dict[str, Tensor] = {}  # an argument of the networks
        self._generator = torch.Generator()

    def parts(self) -> Mapping[str, Callable[[], None]]:
        """Name -> function, in order."""
        loading = {} if self.batches is None else {LOADING: self.load}
        return loading | {
            "augmentation": self.distort,
            "features": self.extract_features,
            "student forward": self.student_forward,
            "teacher forward": self.teacher_forward,
            "losses": self.compute_loss,
            "backward": self.backward,
            "optimiser + EMA": self.update,
        }

    def run(self) -> None:
        """Do the whole step."""
        for part in self.parts().values():
            part()

    def augment_context(self) -> AugmentContext:
        """Random draws of the step, the same for steps with the same number."""
        self._generator.manual_seed(AUGMENT_SEED + self.steps)
        return AugmentContext(
            settings=self.config.augs,
            sample_rate=self.config.data.fs,
            n_frames=self.config.grid.n_frames,
            n_mels=self.config.feats.n_mels,
            generator=self._generator,
        )

    def load(self) -> None:
        """Wait for the next originals."""
        assert self.batches is not None
        self.batch = next(self.batches)

    def distort(self) -> None:
        """Make the distorted copies."""
        raise NotImplementedError

    def extract_features(self) -> None:
        """Compute the networks' input."""
        raise NotImplementedError

    def student_forward(self) -> None:
        """Compute the student's predictions."""
        with self._autocast():
            self.outputs["student"] = self.student(self.inputs, **self.embeddings)

    def teacher_forward(self) -> None:
        """Compute the teacher's predictions."""
        with torch.no_grad(), self._autocast():
            self.outputs["teacher"] = self.teacher(self.inputs, **self.embeddings)

    def compute_loss(self) -> None:
        """Compute all terms and their weighted sum."""
        raise NotImplementedError

    def backward(self) -> None:
        """Compute the student's gradients."""
        self.loss.backward()

    def update(self) -> None:
        """Update the student, then the teacher."""
        self.optimizer.step()
        self.steps += 1
        self.average()
        self.optimizer.zero_grad()

    def average(self) -> None:
        """Update the teacher."""
        raise NotImplementedError

    def _autocast(self) -> Any:
        is_mixed = self.dtype != torch.float32
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=is_mixed)


class OurStep(TrainingStep):
    """The step of `local.sed_trainer.CrossTaskSED`; with an encoder, of stored embeddings."""

    def __init__(
        self,
        config: Config,
        batch: Batch,
        precision: str = "32",
        batches: Iterator[Batch] | None = None,
    ) -> None:
        super().__init__(config, batch, precision, batches)
        self.module = CrossTaskSED(config).to(self.device).train()
        self.student, self.teacher = (self.module.networks[name] for name in ("student", "teacher"))
        configured: Any = self.module.configure_optimizers()
        self.optimizer = configured["optimizer"]
        for group in self.optimizer.param_groups:
            group["lr"] = config.opt.lr  # as after the warm-up
        self._mean_teacher = MeanTeacher(self.student, self.teacher, config.training.ema_factor)

    def distort(self) -> None:
        """Make the distorted copies."""
        self.distorted = distort(self.batch, self.augment_context())

    def extract_features(self) -> None:
        """Compute the networks' input."""
        self.inputs = self.module.features(self.distorted.audio, self.distorted.mel_gain)

    def parts(self) -> Mapping[str, Callable[[], None]]:
        """Name -> function, in order; `embeddings` with an encoder."""
        parts = dict(super().parts())
        if self.config.encoder is None:
            return parts
        names = [*parts]
        names.insert(names.index("features") + 1, "embeddings")
        parts["embeddings"] = self.embed
        return {name: parts[name] for name in names}

    def embed(self) -> None:
        """Compute the embeddings of all rows from the stored ones."""
        found = self.module.embeddings(self.batch, self.distorted)["student"]
        assert found is not None
        self.embeddings = {"embeddings": found}

    def compute_loss(self) -> None:
        """Compute all terms and their weighted sum."""
        objective = self.module.objective
        terms = objective.terms(self.outputs["student"], self.outputs["teacher"], self.distorted)
        self.loss = objective.total(terms, CONSISTENCY_WEIGHT)

    def average(self) -> None:
        """Update the teacher."""
        self._mean_teacher.update(self.steps)


class ReferenceStep(TrainingStep):
    """The step of `tests.support.reference`, float32; with the weights of `ours`, if given."""

    def __init__(
        self,
        config: Config,
        batch: Batch,
        batches: Iterator[Batch] | None = None,
        ours: OurStep | None = None,
    ) -> None:
        super().__init__(config, batch, batches=batches)
        self.student = ReferenceCRNN(config.net, len(config.data.classes))
        if ours is not None:
            self.student.load_state_dict(reference_weights(ours.student.state_dict()))
        self.student.to(self.device).train()
        self.teacher = make_teacher(self.student)
        self.optimizer = torch.optim.Adam(
            self.student.parameters(), lr=config.opt.lr, foreach=False
        )
        excluded = config.cross_task.excluded_classes
        self._counted = torch.tensor([name not in excluded for name in CLASSES]).to(self.device)

    def distort(self) -> None:
        """Make the distorted copies."""
        self.distorted = reference.distort(self.batch, self.augment_context())

    def extract_features(self) -> None:
        """Compute the networks' input."""
        self.inputs = reference.features(self.distorted.audio)

    def compute_loss(self) -> None:
        """Compute all terms and their weighted sum."""
        outputs = self.outputs
        terms = reference.loss_terms(
            outputs["student"], outputs["teacher"], self.distorted, self._counted
        )
        self.loss = reference.total_loss(terms, CONSISTENCY_WEIGHT)

    def average(self) -> None:
        """Update the teacher."""
        reference.average(self.student, self.teacher, self.steps)
