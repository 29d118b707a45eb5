"""Every part of a training step against the reference, the specification written plainly."""

import copy
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from desed_task.augment import AugmentContext, DistortedBatch, distort
from desed_task.dataio.batch import Batch, ClipKind
from desed_task.ema import MeanTeacher
from desed_task.errors import InputError
from desed_task.features import LogMel, Scaler
from desed_task.nnet.crnn import CRNN, SEDOutput
from desed_task.sod import counted_classes
from local.config.load import Config, override_config
from local.objective import Objective
from tests.support import reference
from tests.support.classes import CLASSES
from tests.support.reference_network import ReferenceCRNN, reference_weights
from tests.support.step_data import BATCHES, StepData
from tests.support.training_step import NARROW, OurStep, ReferenceStep, clips_per_kind, random_batch

COUNTED = counted_classes(CLASSES, ["Dishes"])


@pytest.fixture(scope="module", params=[3, 4], ids=["recipe", "with_strong"])
def batch(request: pytest.FixtureRequest) -> Batch:
    """Two clips of each kind: of the published recipe, and of the real set with strong labels."""
    generator = torch.Generator().manual_seed(1)
    kinds = torch.tensor([kind for kind in list(ClipKind)[: request.param] for _ in range(2)])
    targets = (torch.rand(len(kinds), 10, 156, generator=generator) > 0.9).float()
    targets[kinds == ClipKind.UNLABELLED] = 0
    return Batch(
        audio=0.1 * torch.randn(len(kinds), 160000, generator=generator),
        targets=targets,
        kind=kinds,
        names=tuple(map(str, range(len(kinds)))),
        seconds=torch.full((len(kinds),), 10.0, dtype=torch.float64),
    )


def _context(recipe: Config, seed: int, *methods: str) -> AugmentContext:
    changed = override_config(recipe, [f"augs.aug_methods=[{', '.join(methods)}]"])
    return AugmentContext(
        settings=(changed if methods else recipe).augs,
        sample_rate=16000,
        n_frames=156,
        n_mels=128,
        generator=torch.Generator().manual_seed(seed),
    )


@pytest.mark.parametrize("method", ["Time mask", "Pitch shift", "Time shift"])
def test_augmentation(method: str, recipe: Config, batch: Batch) -> None:
    ours = distort(batch, _context(recipe, 3, method))
    plain = reference.distort(batch, _context(recipe, 3, method))
    torch.testing.assert_close(plain.audio, ours.audio, rtol=1e-4, atol=1e-5)
    for name in ("targets", "kind", "copy"):
        assert torch.equal(getattr(plain, name), getattr(ours, name)), name
    for kind, record in ours.records.items():
        assert plain.records[kind].shift_frames == record.shift_frames
        assert torch.equal(plain.records[kind].permutations, record.permutations)  # type: ignore[arg-type]


def test_features(recipe: Config, batch: Batch) -> None:
    log_mel = LogMel(recipe.feats, recipe.data.fs)(batch.audio)
    ours = Scaler(recipe.scaler, recipe.feats.n_mels, recipe.grid.n_hops)(log_mel)
    torch.testing.assert_close(reference.features(batch.audio), ours, rtol=0, atol=1e-5)


def _network_pair(recipe: Config) -> tuple[nn.Module, nn.Module]:
    """Ours and the reference with equal weights, in training mode, without dropout."""
    still = override_config(recipe, ["net.dropout=0", "net.dropout_output=0"])
    torch.manual_seed(0)
    ours, plain = CRNN(still.net, 10), ReferenceCRNN(still.net, 10)
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5)
    plain.load_state_dict(reference_weights(ours.state_dict()))
    return ours, plain


def test_network_in_training(recipe: Config) -> None:
    """Outputs, gradients of all parameters and running statistics."""
    ours, plain = _network_pair(recipe)
    features = torch.rand(3, 128, 160, generator=torch.Generator().manual_seed(2))
    outputs = [network(features) for network in (ours, plain)]
    for name, mine, theirs in zip(SEDOutput._fields, *outputs, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4, msg=name)
    for output in outputs:
        (output.strong.square().mean() + output.weak.mean() + output.sod_logits.std()).backward()
    gradients = reference_weights({name: p.grad for name, p in ours.named_parameters()})  # type: ignore[misc]
    for name, parameter in plain.named_parameters():
        assert parameter.grad is not None
        # A bias before a batch norm has no gradient but rounding.
        error = (gradients[name] - parameter.grad).norm()
        assert error <= 2e-3 * parameter.grad.norm() + 1e-6, name
    buffers = reference_weights(dict(ours.named_buffers()))
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(buffers[name], buffer, rtol=1e-3, atol=1e-4, msg=name)


def _output(generator: torch.Generator, clips: int) -> SEDOutput:
    def uniform(*shape: int) -> Tensor:
        # Towards 0 and 1, so that confident predictions are among them.
        return (8 * torch.rand(*shape, generator=generator) - 4).sigmoid()

    return SEDOutput(
        uniform(clips, 10, 156).requires_grad_(),
        uniform(clips, 10).requires_grad_(),
        torch.randn(clips, 156, 3, generator=generator).requires_grad_(),
    )


def test_losses(recipe: Config, batch: Batch) -> None:
    distorted: DistortedBatch = distort(batch, _context(recipe, 5, "Time shift"))
    generator = torch.Generator().manual_seed(4)
    clips = len(distorted.audio)
    student = _output(generator, clips)
    teacher = SEDOutput(*(x.detach() for x in _output(generator, clips)))  # type: ignore[union-attr]
    objective = Objective(recipe, COUNTED)
    terms = objective.terms(student, teacher, distorted)
    plain = reference.loss_terms(student, teacher, distorted, COUNTED)
    assert plain.keys() == terms.keys()
    for name, term in terms.items():
        torch.testing.assert_close(plain[name], term, msg=name)
    totals = (objective.total(terms, 0.7), reference.total_loss(plain, 0.7))
    torch.testing.assert_close(*totals)
    leaves: Any = tuple(student)
    gradients: list[Any] = [torch.autograd.grad(total, leaves) for total in totals]
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_average() -> None:
    torch.manual_seed(0)
    student, teacher = nn.Linear(3, 4), nn.Linear(3, 4)
    plain = copy.deepcopy(teacher)
    mean_teacher = MeanTeacher(student, teacher, 0.999)
    for step in (1, 2, 5000):
        mean_teacher.update(step)
        reference.average(student, plain, step)
    torch.testing.assert_close(plain.state_dict(), teacher.state_dict())


def test_impossible_number_of_inputs() -> None:
    with pytest.raises(InputError, match=r"^--clips: .*12, got 20"):
        clips_per_kind(20)


def test_whole_steps_have_the_same_loss(recipe: Config) -> None:
    """Three steps, with the same draws, including Adam and the teacher, without dropout."""
    still = override_config(recipe, [*NARROW, "net.dropout=0", "net.dropout_output=0"])
    inputs = random_batch(12, still, torch.device("cpu"))
    torch.manual_seed(0)
    ours = OurStep(still, inputs)
    plain = ReferenceStep(still, inputs, ours=ours)
    for _ in range(3):
        ours.run()
        plain.run()
        torch.testing.assert_close(ours.loss, plain.loss, rtol=1e-4, atol=0)


@pytest.mark.parametrize("workers", [0, 1])
def test_both_steps_load_the_same_clips(workers: int, recipe: Config, tmp_path: Path) -> None:
    """Two epochs and one batch: audio, labels, kinds and order."""
    cpu = torch.device("cpu")
    data = StepData(tmp_path, (1, 1, 2, 1), override_config(recipe, NARROW[:1]).grid)
    both = zip(data.batches(workers, cpu), data.reference_batches(cpu), strict=False)
    names: list[str] = []
    for ours, plain in islice(both, 2 * BATCHES + 1):
        assert ours.names == plain.names
        for field in ("audio", "targets", "kind"):
            torch.testing.assert_close(getattr(ours, field), getattr(plain, field))
        names += ours.names
    assert len(set(names)) == 5 * BATCHES
    assert ours.kind.tolist() == [0, 1, 2, 2, 3]
