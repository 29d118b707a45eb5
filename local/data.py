"""The recipe's data for Lightning: what is trained, validated and tested on, batch by batch."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_only
from torch.utils.data import DataLoader, Dataset, Subset

from desed_task import process_group
from desed_task.dataio.annotations import (
    read_durations,
    read_strong,
    read_weak,
)
from desed_task.dataio.batch import Batch, Clip, collate
from desed_task.dataio.coverage import Coverage, cover, coverage_report, write_missing
from desed_task.dataio.datasets import ClipDataset, CombinedDataset, weak_split
from desed_task.dataio.sampler import MixtureBatchSampler
from desed_task.errors import InputError
from desed_task.evaluation.truth import GroundTruth
from desed_task.frames import FrameGrid
from desed_task.labels import Event
from local.audio_sets import VALIDATION, AudioSet, prepare_sets, test_sets, training_sets
from local.classes import CLASSES
from local.config.load import Config
from local.run.callbacks import outlive_sigterm

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledSet:
    """A set whose events are known, of which only clips with audio are kept.

    Attributes:
        name: what the set is called: `synthetic validation`, `test` or `eval`.
        clips: its data set.
        truth: its events, those of a class that overlap made one, and its durations.
        coverage: expected, found and missing clips.
    """

    name: str
    clips: ClipDataset
    truth: GroundTruth
    coverage: Coverage


class DesedDataModule(pl.LightningDataModule):
    """Prepares, checks and loads the sets of a configuration.

    Everything a fit reads is prepared and checked before it starts, the test sets included, since
    the best checkpoint is tested after training. A test alone needs the test sets alone.

    Args:
        config: the experiment.
        grid: its time axis.
        missing_list: the file that lists annotated clips without audio, where there are any.
        tune: whether the test also predicts the synthetic validation set, after the test sets.

    Attributes, there after `setup`:
        train_clips: the training sets one after the other.
        weak_validation: the part of the weak set that is not trained on.
        synth_validation: the synthetic validation set.
        test_sets: the main test set and, where there is one, the second.
        coverage: expected, found and missing clips of every set that was looked at.
    """

    train_clips: CombinedDataset
    weak_validation: ClipDataset
    synth_validation: LabelledSet
    test_sets: list[LabelledSet]

    def __init__(
        self, config: Config, grid: FrameGrid, missing_list: str | Path, *, tune: bool = False
    ):
        super().__init__()
        self.prepare_data_per_node = False  # process 0 alone: the folders are shared
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.tune = tune
        self.config = config
        self.grid = grid
        self.coverage: dict[str, Coverage] = {}
        self._missing_list = Path(missing_list)
        self._prepared: set[str] = set()
        self._train_sizes: dict[str, int] = {}

    def prepare_data(self) -> None:
        """Resample and write durations where they are missing; once, in one process."""
        wanted = self._wanted()
        new = {name: part for name, part in wanted.items() if name not in self._prepared}
        workers = max(1, self.config.training.num_workers)
        prepare_sets(new.values(), self.config.data.fs, workers)
        self._prepared |= new.keys()

    def setup(self, stage: str) -> None:
        """Read and check the annotations, look for the audio, report what is there.

        Raises InputError for a broken annotation file, an empty set, missing durations, or sets so
        small that a process would have nothing to validate or to test.
        """
        known = len(self.coverage)
        if stage != "test" and "weak" not in self.coverage:
            self._set_up_training()
        if "test" not in self.coverage:
            sets = test_sets(self.config)
            self.test_sets = [self._labelled(name, part) for name, part in sets.items()]
        if self.tune and VALIDATION not in self.coverage:
            part = training_sets(self.config)[VALIDATION]
            self.synth_validation = self._labelled(VALIDATION, part)
        if len(self.coverage) > known:
            self._check_shares(stage)
            self._report()

    def _check_shares(self, stage: str) -> None:
        ranks = process_group.ranks()
        sizes = {"test": max(len(part.clips) for part in self.test_sets)}
        if stage != "test":
            sizes["validation"] = max(len(self.weak_validation), len(self.synth_validation.clips))
        for name, size in sizes.items():
            if size < ranks:
                raise InputError(
                    f"{ranks} processes, but no {name} set has more than {size} clip(s): some "
                    "process would have none"
                )

    @property
    def validation_truth(self) -> GroundTruth:
        """Events and durations of the synthetic validation set."""
        return self.synth_validation.truth

    def train_dataloader(self) -> DataLoader[Clip]:
        """Batches of 6 + 6 + 12 clips, or as configured, in the order of `ClipKind`."""
        training = self.config.training
        sampler = MixtureBatchSampler(
            self._train_sizes,
            training.clips_per_set,
            training.seed,
            rank=process_group.rank(),
            ranks=process_group.ranks(),
        )
        return EpochLoader(
            self.train_clips,
            position=self._position,
            batch_sampler=sampler,
            **self._loading(persistent=True),
        )

    def _position(self) -> tuple[int, int]:
        """The epoch and the batches of it that training is through with."""
        if self.trainer is None:
            return 0, 0
        done = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready
        return self.trainer.current_epoch, done

    def val_dataloader(self) -> list[DataLoader[Clip]]:
        """One loader of the weak validation clips, one of the synthetic ones."""
        parts = (self.weak_validation, self.synth_validation.clips)
        return [self._evaluation_loader(part, persistent=True) for part in parts]

    def test_dataloader(self) -> list[DataLoader[Clip]]:
        """One loader for each of `test_sets`, and one of the validation set where it tunes."""
        parts = [*self.test_sets, self.synth_validation] if self.tune else self.test_sets
        return [self._evaluation_loader(part.clips, persistent=False) for part in parts]

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """The batch on the device, without waiting for the copy where it is page-locked.

        16-bit audio becomes float32 there, after half as many bytes were copied.
        """
        return batch.to(device, non_blocking=True).with_float_audio()

    def _set_up_training(self) -> None:
        sets = training_sets(self.config)
        weak = sets["weak"]
        tags = read_weak(str(weak.tsv), CLASSES)
        found = set(self._cover("weak", weak, tags).found)
        # The file is split, not what was found of it: a missing clip moves no other one.
        split = weak_split(tags, self.config.training.weak_split, self.config.training.seed)
        parts = [
            {name: part[name] for name in part if name in found}
            for part in (split.train, split.validation)
        ]
        if not parts[1]:
            raise InputError(f"weak: no clip of the validation part is in {weak.folder}")
        weak_train, self.weak_validation = (
            ClipDataset.weak(weak.folder, part, CLASSES, self.grid) for part in parts
        )
        clips: dict[str, ClipDataset] = {}
        if "synthetic" in sets:
            clips["synthetic"] = self._strong("synthetic", sets["synthetic"])[0]
        if self.config.training.clips_per_set["weak"]:
            clips["weak"] = weak_train
        if "unlabelled" in sets:
            part = sets["unlabelled"]
            names = self._cover("unlabelled", part, None).found
            clips["unlabelled"] = ClipDataset.unlabelled(part.folder, names, CLASSES, self.grid)
        self.train_clips = CombinedDataset(list(clips.values()))
        self._train_sizes = {
            name: len(clips[name]) if name in clips else 0
            for name in self.config.training.clips_per_set
        }
        self.synth_validation = self._labelled(VALIDATION, sets[VALIDATION])

    def _strong(self, name: str, part: AudioSet) -> tuple[ClipDataset, dict[str, list[Event]]]:
        annotations = read_strong(str(part.tsv), CLASSES)
        events = {clip: annotations[clip] for clip in self._cover(name, part, annotations).found}
        return ClipDataset.strong(part.folder, events, CLASSES, self.grid), events

    def _labelled(self, name: str, part: AudioSet) -> LabelledSet:
        clips, events = self._strong(name, part)
        durations = read_durations(str(part.durations))
        lacking = [clip for clip in events if clip not in durations]
        if lacking:
            raise InputError(
                f"{part.durations}: lacks {len(lacking)} of {len(events)} clips, the first is "
                f"{lacking[0]}; delete the file, and it is generated from {part.folder}"
            )
        truth = GroundTruth.merged(CLASSES, events, durations, source=str(part.tsv))
        return LabelledSet(name, clips, truth, self.coverage[name])

    def _cover(self, name: str, part: AudioSet, expected: Mapping[str, Any] | None) -> Coverage:
        self.coverage[name] = cover(name, part.folder, expected)
        return self.coverage[name]

    @rank_zero_only
    def _report(self) -> None:
        names = [*training_sets(self.config), *test_sets(self.config)]
        coverages = [self.coverage[name] for name in names if name in self.coverage]
        print(coverage_report(coverages))
        write_missing(coverages, self._missing_list)

    def _wanted(self) -> dict[str, AudioSet]:
        """The sets that this run reads."""
        training, tests = training_sets(self.config), test_sets(self.config)
        if self.trainer is None or self.trainer.state.fn != TrainerFn.TESTING:
            return training | tests
        return tests | ({VALIDATION: training[VALIDATION]} if self.tune else {})

    def _evaluation_loader(self, clips: ClipDataset, persistent: bool) -> DataLoader[Clip]:
        size = self.config.training.batch_size_val
        own: Dataset[Clip] = clips
        if process_group.ranks() > 1:
            own = Subset(clips, process_group.share(len(clips)))
        return DataLoader(own, batch_size=size, **self._loading(persistent))

    def _loading(self, persistent: bool) -> dict[str, Any]:
        """What all loaders have in common.

        The generator is the loader's own: loading leaves the global random state as it is.
        """
        workers = self.config.training.num_workers
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return {
            "collate_fn": collate,
            "num_workers": workers,
            "persistent_workers": persistent and workers > 0,
            "pin_memory": on_gpu,
            "worker_init_fn": outlive_sigterm,
            "generator": torch.Generator().manual_seed(self.config.training.seed),
        }


class EpochLoader(DataLoader[Clip]):
    """A loader that asks where training stands when its first batch is asked for, and not before.

    `position` returns the epoch and the batches of it that were trained on: a run that was resumed
    in the middle of an epoch gets the rest of it.

    Lightning makes the iterator before it has settled, on resuming, which epoch it is in; and it
    tells samplers of the epoch, but not batch samplers.
    """

    def __init__(
        self,
        dataset: CombinedDataset,
        position: Callable[[], tuple[int, int]],
        batch_sampler: MixtureBatchSampler,
        **loading: Any,
    ):
        super().__init__(dataset, batch_sampler=batch_sampler, **loading)
        self.mixture = batch_sampler
        self.position = position

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        self.mixture.set_epoch(*self.position())
        yield from super().__iter__()
