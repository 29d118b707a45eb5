"""One training step cut into its parts, ours and the reference's, on the same random clips."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import reference
from benchmarks.devices import Clock, autocast, seconds
from benchmarks.reference_network import ReferenceCRNN, from_ours
from desed_task.augment import AugmentContext, DistortedBatch, distort
from desed_task.dataio.batch import Batch, ClipKind
from desed_task.ema import MeanTeacher, make_teacher
from desed_task.errors import InputError
from desed_task.nnet.crnn import SEDOutput
from local.build import build_augment_settings, build_crnn_shape
from local.classes import CLASSES
from local.config.load import Config
from local.sed_trainer import CrossTaskSED

COPIES = 3  # of every clip: itself, mixed, augmented
PARTS_OF_BATCH = (1, 1, 2)  # synthetic, weak, unlabelled
CONSISTENCY_WEIGHT = 1.0  # w, any
LOADING = "loading"
NETWORK = ("student forward", "teacher forward", "backward")
WHOLE = "whole step"
AUGMENT_SEED = 1000  # of the first round; the next has the next


def check_clips(clips: int) -> None:
    """Raise InputError for a number of `--clips` before the network that makes no batch."""
    unit = COPIES * sum(PARTS_OF_BATCH)
    if clips < 1 or clips % unit:
        raise InputError(f"--clips {clips}: a multiple of {unit} is right")


def batch_shares(clips: int) -> list[int]:
    """Originals of each kind for so many clips before the network."""
    unit = clips // (COPIES * sum(PARTS_OF_BATCH))
    return [part * unit for part in PARTS_OF_BATCH]


def random_batch(clips: int, config: Config, device: torch.device) -> Batch:
    """Originals for so many clips before the network: noise of 10 s with random events."""
    generator = torch.Generator().manual_seed(0)
    shares = zip(ClipKind, batch_shares(clips), strict=True)
    kinds = [kind for kind, share in shares for _ in range(share)]
    grid, number = config.grid, len(kinds)
    targets = torch.rand(number, len(CLASSES), grid.n_frames, generator=generator) > 0.9
    batch = Batch(
        audio=0.1 * torch.randn(number, grid.n_samples, generator=generator),
        targets=targets.float(),
        kind=torch.tensor([int(kind) for kind in kinds]),
        names=tuple(map(str, range(number))),
        seconds=torch.full((number,), grid.clip_seconds, dtype=torch.float64),
    )
    return batch.to(device)


class TrainingStep:
    """What both steps have: the parts in their order, each working on what the last one left.

    Args:
        config: the experiment.
        batch: originals on the device.
        precision: a key of `benchmarks.options.DTYPES` (autocast).

    With `batches`, each step begins with loading the next of them; without, it has no such part.
    """

    batches: Iterator[Batch] | None = None

    student: nn.Module
    teacher: nn.Module
    optimizer: torch.optim.Optimizer

    def __init__(self, config: Config, batch: Batch, precision: str) -> None:
        self.config, self.batch, self.precision = config, batch, precision
        self.device = batch.audio.device
        self.generator = torch.Generator()
        self.done = 0
        self.distorted: DistortedBatch
        self.inputs: Tensor
        self.outputs: dict[str, SEDOutput] = {}
        self.loss: Tensor

    def parts(self) -> Mapping[str, Callable[[], None]]:
        """Name -> what to run, in order."""
        first = {} if self.batches is None else {LOADING: self.loading}
        return first | {
            "augmentation": self.augmentation,
            "features": self.features,
            "student forward": self.student_forward,
            "teacher forward": self.teacher_forward,
            "losses": self.losses,
            "backward": self.backward,
            "optimiser + EMA": self.update,
        }

    def run(self) -> None:
        """The whole step."""
        for part in self.parts().values():
            part()

    def augment_context(self) -> AugmentContext:
        """Draws of the step; equal for steps of one number."""
        self.generator.manual_seed(AUGMENT_SEED + self.done)
        return AugmentContext(
            settings=build_augment_settings(self.config),
            sample_rate=self.config.data.fs,
            n_frames=self.config.grid.n_frames,
            n_mels=self.config.feats.n_mels,
            generator=self.generator,
        )

    def loading(self) -> None:
        """Wait for the next originals."""
        assert self.batches is not None
        self.batch = next(self.batches)

    def autocast(self) -> Any:
        """What both networks run under."""
        return autocast(self.device, self.precision)

    def augmentation(self) -> None:
        """Originals -> distorted copies."""
        raise NotImplementedError

    def features(self) -> None:
        """Audio -> what the networks see."""
        raise NotImplementedError

    def student_forward(self) -> None:
        """The student's predictions."""
        with self.autocast():
            self.outputs["student"] = self.student(self.inputs)

    def teacher_forward(self) -> None:
        """The teacher's predictions."""
        with torch.no_grad(), self.autocast():
            self.outputs["teacher"] = self.teacher(self.inputs)

    def losses(self) -> None:
        """All terms and their weighted sum."""
        raise NotImplementedError

    def backward(self) -> None:
        """Gradients of the student."""
        self.loss.backward()

    def update(self) -> None:
        """Optimiser step, then the teacher's average."""
        self.optimizer.step()
        self.done += 1
        self.average()
        self.optimizer.zero_grad()

    def average(self) -> None:
        """The teacher takes its share of the student."""
        raise NotImplementedError


def time_step(step: TrainingStep, clock: Clock) -> dict[str, float]:
    """Run a step once; seconds of every part, of the network and of the whole."""
    found = {name: seconds(part, step.device, clock) for name, part in step.parts().items()}
    found["network"] = sum(found[name] for name in NETWORK)
    found[WHOLE] = sum(found[name] for name in step.parts())
    return found


class OurStep(TrainingStep):
    """The parts of `local.sed_trainer.CrossTaskSED`, without Lightning's loop."""

    def __init__(self, config: Config, batch: Batch, precision: str) -> None:
        super().__init__(config, batch, precision)
        self.module = CrossTaskSED(config).to(self.device).train()
        self.student, self.teacher = (self.module.networks[name] for name in ("student", "teacher"))
        configured: Any = self.module.configure_optimizers()
        self.optimizer = configured["optimizer"]
        for group in self.optimizer.param_groups:
            group["lr"] = config.opt.lr  # as after the warm-up, which the scheduler began
        self.mean_teacher = MeanTeacher(self.student, self.teacher, config.training.ema_factor)

    def augmentation(self) -> None:
        """Originals -> distorted copies."""
        self.distorted = distort(self.batch, self.augment_context())

    def features(self) -> None:
        """Audio -> what the networks see."""
        self.inputs = self.module.features(self.distorted.audio, self.distorted.mel_gain)

    def losses(self) -> None:
        """All terms and their weighted sum."""
        objective = self.module.objective
        terms = objective.terms(self.outputs["student"], self.outputs["teacher"], self.distorted)
        self.loss = objective.total(terms, CONSISTENCY_WEIGHT)

    def average(self) -> None:
        """The teacher takes its share of the student."""
        self.mean_teacher.update(self.done)


class ReferenceStep(TrainingStep):
    """The plain step of `benchmarks.reference`; always float32."""

    def __init__(self, config: Config, batch: Batch, ours: OurStep | None = None) -> None:
        super().__init__(config, batch, "32")
        self.student = ReferenceCRNN(build_crnn_shape(config))
        if ours is not None:
            self.student.load_state_dict(from_ours(ours.student.state_dict()))
        self.student.to(self.device).train()
        self.teacher = make_teacher(self.student)
        self.optimizer = torch.optim.Adam(
            self.student.parameters(), lr=config.opt.lr, foreach=False
        )
        excluded = config.cross_task.excluded_classes
        self.counted = torch.tensor([name not in excluded for name in CLASSES]).to(self.device)

    def augmentation(self) -> None:
        """Originals -> distorted copies."""
        self.distorted = reference.distort(self.batch, self.augment_context())

    def features(self) -> None:
        """Audio -> what the networks see."""
        self.inputs = reference.features(self.distorted.audio)

    def losses(self) -> None:
        """All terms and their weighted sum."""
        outputs = self.outputs
        terms = reference.loss_terms(
            outputs["student"], outputs["teacher"], self.distorted, self.counted
        )
        self.loss = reference.total_loss(terms, CONSISTENCY_WEIGHT)

    def average(self) -> None:
        """The teacher takes its share of the student."""
        reference.average(self.student, self.teacher, self.done)
