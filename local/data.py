"""The recipe's training, validation and test data as a Lightning data module."""

import logging
from collections.abc import Iterable, Mapping
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
from desed_task.dataio.batch import FRAME_LABELLED, Batch, Clip, ClipKind, collate
from desed_task.dataio.coverage import (
    Coverage,
    coverage_table,
    find_clips,
    write_missing_clips,
)
from desed_task.dataio.datasets import ClipDataset, CombinedDataset, WindowDataset, weak_split
from desed_task.dataio.prepare import clip_seconds
from desed_task.dataio.recordings import usable_names
from desed_task.dataio.sampler import MixtureBatchSampler
from desed_task.desed import SYNTHETIC_VALIDATION as VALIDATION
from desed_task.errors import InputError, shortened
from desed_task.evaluation.truth import GroundTruth
from desed_task.frames import FrameGrid
from desed_task.labels import Event
from local.audio_sets import prepare_sets, test_sets, training_sets
from local.config.data import AudioSet
from local.config.load import Config
from local.lightning_internals import training_position
from local.loading import EpochLoader, outlive_sigterm

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledSet:
    """A set with known events, without its clips that have no audio.

    Attributes:
        name: `synthetic validation`, `test` or `eval`.
        clips: its data set.
        truth: its events, overlapping ones of a class merged, and its durations.
        coverage: expected, found and missing clips.
    """

    name: str
    clips: ClipDataset
    truth: GroundTruth
    coverage: Coverage


class DesedDataModule(pl.LightningDataModule):
    """Prepares, checks and loads the sets of a configuration.

    All sets are prepared and checked before a training starts, including the test sets, because
    the best checkpoint is tested after training. A test needs only the test sets.

    Training crops clips that are longer than the grid at random; validation and test read them
    whole, as windows.

    Args:
        config: the experiment.
        grid: the time axis of the network's input.
        missing_list: file to write the annotated clips without audio to, if there are any.
        tune: whether the test also predicts the synthetic validation set, after the test sets.

    Attributes, set by `setup`:
        train_clips: the training sets, concatenated.
        weak_validation: the clips of the weak set that are not trained on; unset without the set.
        synth_validation: the synthetic validation set; unset without the set.
        test_sets: the main test set and the second one, if there is one.
        coverage: expected, found and missing clips of every set.
    """

    train_clips: CombinedDataset
    weak_validation: ClipDataset
    synth_validation: LabelledSet
    test_sets: list[LabelledSet]

    def __init__(
        self, config: Config, grid: FrameGrid, missing_list: str | Path, *, tune: bool = False
    ):
        super().__init__()
        self.prepare_data_per_node = False  # only process 0 of all nodes: they share the folders
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.tune = tune
        self.config = config
        self._classes = config.data.classes
        self.grid = grid
        self.coverage: dict[str, Coverage] = {}
        self._missing_list = Path(missing_list)
        self._prepared: set[str] = set()
        self._train_sets: dict[str, ClipDataset] = {}

    def prepare_data(self) -> None:
        """Write the missing resampled files and durations; once, in one process."""
        sets = self._sets_to_read().items()
        new = {name: audio_set for name, audio_set in sets if name not in self._prepared}
        workers = max(1, self.config.training.num_workers)
        data = self.config.data
        prepare_sets(new.values(), data.fs, workers, data.channel)
        self._prepared |= new.keys()

    def setup(self, stage: str) -> None:
        """Read and check the annotations, look for the audio files, print the coverage.

        Raises InputError for a wrong annotation file, an empty set, missing durations, or fewer
        clips to validate or test than there are processes.
        """
        n_covered = len(self.coverage)
        if stage != "test" and not self._train_sets:
            self._set_up_training()
        if "test" not in self.coverage:
            sets = test_sets(self.config).items()
            self.test_sets = [self._labelled(name, audio_set) for name, audio_set in sets]
        if self.tune and VALIDATION not in self.coverage:
            audio_set = training_sets(self.config)[VALIDATION]
            self.synth_validation = self._labelled(VALIDATION, audio_set)
        if len(self.coverage) > n_covered:
            self._check_shares(stage)
            self._report()

    def _check_shares(self, stage: str) -> None:
        ranks = process_group.ranks()
        sets = {"test": [test_set.clips for test_set in self.test_sets]}
        if stage != "test":
            sets["validation"] = self._validation_clips()
        for name, datasets in sets.items():
            size = max(len(WindowDataset(clips)) for clips in datasets)
            if size < ranks:
                raise InputError(
                    f"{name}: expected a set of at least {ranks} clips, one for each process, "
                    f"got at most {size}"
                )

    @property
    def validation_truth(self) -> GroundTruth:
        """Events and durations of the synthetic validation set; without the set, of no clip."""
        if VALIDATION not in self.coverage:
            return GroundTruth(tuple(self._classes), {}, {})
        return self.synth_validation.truth

    def _validation_clips(self) -> list[ClipDataset]:
        """The weak validation clips and the synthetic ones, without an absent set."""
        weak = [self.weak_validation] if "weak" in self.coverage else []
        return weak + ([self.synth_validation.clips] if VALIDATION in self.coverage else [])

    def train_dataloader(self) -> DataLoader[Clip]:
        """Batches of 6 + 6 + 12 clips, or as configured, in the order of `ClipKind`."""
        sizes, sets = self.config.clips_per_set, self._train_sets
        sampler = MixtureBatchSampler(
            {name: len(sets.get(name, ())) for name in sizes},
            sizes,
            self.config.training.seed,
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
        return training_position(self.trainer)

    def val_dataloader(self) -> list[DataLoader[Clip]]:
        """One loader of the weak validation clips, one of the synthetic ones; none if absent."""
        datasets = self._validation_clips()
        return [self._evaluation_loader(clips, persistent=True) for clips in datasets]

    def test_dataloader(self) -> list[DataLoader[Clip]]:
        """One loader for each of the `tested_sets`."""
        return [self._evaluation_loader(each.clips, persistent=False) for each in self.tested_sets]

    @property
    def tested_sets(self) -> list[LabelledSet]:
        """The sets that a test predicts: `test_sets`, and with `tune` the validation set."""
        return [*self.test_sets, self.synth_validation] if self.tune else self.test_sets

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """The batch on the device; a page-locked one is copied without waiting.

        16-bit audio becomes float32 on the device, so that half as many bytes are copied.
        """
        return batch.to(device, non_blocking=True).with_float_audio()

    def _set_up_training(self) -> None:
        sets = training_sets(self.config)
        weak_train = self._split_weak(sets["weak"]) if "weak" in sets else None
        clips: dict[str, ClipDataset] = {}
        for kind in ClipKind:
            name = kind.name.lower()
            if name not in sets:
                continue
            if kind in FRAME_LABELLED:
                clips[name] = self._strong(name, sets[name], kind)[0]
            elif kind == ClipKind.UNLABELLED:
                folder, names = sets[name].folder, self._find_clips(name, sets[name], None).found
                clips[name] = ClipDataset.unlabelled(folder, names, self._classes, self.grid)
            elif weak_train is not None and self.config.clips_per_set[name]:
                clips[name] = weak_train
        self.train_clips = CombinedDataset(list(clips.values()))
        self._train_sets = clips
        if VALIDATION in sets:
            self.synth_validation = self._labelled(VALIDATION, sets[VALIDATION])

    def _split_weak(self, weak: AudioSet) -> ClipDataset:
        """The weak clips to train on; the others become `weak_validation`."""
        tags = read_weak(str(weak.tsv), self._classes)
        found = set(self._find_clips("weak", weak, tags).found)
        # All annotated clips are split, so that a missing one does not change the others' split.
        split = weak_split(tags, self.config.training.weak_split, self.config.training.seed)
        train, validation = (
            {name: clips[name] for name in clips if name in found}
            for clips in (split.train, split.validation)
        )
        if not validation:
            raise InputError(
                f"{weak.folder}: no audio of weak clips for validation: expected at least 1 of "
                f"{len(split.validation)} clips, got 0"
            )
        weak_train, self.weak_validation = (
            ClipDataset.weak(weak.folder, tags_of_clips, self._classes, self.grid)
            for tags_of_clips in (train, validation)
        )
        return weak_train

    def _strong(
        self,
        name: str,
        audio_set: AudioSet,
        kind: ClipKind = ClipKind.SYNTHETIC,
        durations: Mapping[str, float] | None = None,
    ) -> tuple[ClipDataset, dict[str, list[Event]]]:
        if durations is None:
            names = usable_names(audio_set.folder, audio_set.original)
            durations = clip_seconds(audio_set.folder, names, self.config.data.fs)
        annotations = read_strong(str(audio_set.tsv), self._classes, durations)
        found = self._find_clips(name, audio_set, annotations).found
        events = {clip: annotations[clip] for clip in found}
        return ClipDataset.strong(audio_set.folder, events, self._classes, self.grid, kind), events

    def _labelled(self, name: str, audio_set: AudioSet) -> LabelledSet:
        durations = read_durations(str(audio_set.durations))
        clips, events = self._strong(name, audio_set, durations=durations)
        missing = [clip for clip in events if clip not in durations]
        if missing:
            raise InputError(
                f"{audio_set.durations}: missing clips: expected durations of {len(events)} clips, "
                f"got none of {shortened(missing)}; delete the file to have it written again from "
                f"{audio_set.folder}"
            )
        truth = GroundTruth.merged(self._classes, events, durations, source=str(audio_set.tsv))
        return LabelledSet(name, clips, truth, self.coverage[name])

    def _find_clips(
        self, name: str, audio_set: AudioSet, expected: Iterable[str] | None
    ) -> Coverage:
        found = find_clips(name, audio_set.folder, expected, audio_set.original)
        self.coverage[name] = found
        return self.coverage[name]

    @rank_zero_only
    def _report(self) -> None:
        names = [*training_sets(self.config), *test_sets(self.config)]
        coverages = [self.coverage[name] for name in names if name in self.coverage]
        print(coverage_table(coverages))
        evaluated = {test_set.name: test_set.clips for test_set in self.test_sets}
        if VALIDATION in self.coverage:
            evaluated[VALIDATION] = self.synth_validation.clips
        if "weak" in self.coverage:
            evaluated["weak validation"] = self.weak_validation
        print(self._longer_clips(self._train_sets, "training crops them at random"), end="")
        print(self._longer_clips(evaluated, "they are read whole, in windows"), end="")
        write_missing_clips(coverages, self._missing_list)

    def _longer_clips(self, datasets: Mapping[str, ClipDataset], remark: str) -> str:
        """A line on the clips that are longer than the grid; empty if there are none."""
        counts = {name: clips.n_longer for name, clips in datasets.items()}
        if not any(counts.values()):
            return ""
        by_set = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        return (
            f"{sum(counts.values())} clips are longer than data.audio_max_len "
            f"({self.grid.clip_seconds:g} s): {by_set}; {remark}\n"
        )

    def _sets_to_read(self) -> dict[str, AudioSet]:
        """The sets that this run reads."""
        training, tests = training_sets(self.config), test_sets(self.config)
        if self.trainer is None or self.trainer.state.fn != TrainerFn.TESTING:
            return training | tests
        return tests | ({VALIDATION: training[VALIDATION]} if self.tune else {})

    def _evaluation_loader(self, clips: ClipDataset, persistent: bool) -> DataLoader[Clip]:
        size = self.config.training.batch_size_val
        windows = WindowDataset(clips)
        own: Dataset[Clip] = windows
        if process_group.ranks() > 1:
            own = Subset(windows, process_group.own_share(len(windows)))
        return DataLoader(own, batch_size=size, **self._loading(persistent))

    def _loading(self, persistent: bool) -> dict[str, Any]:
        """The options of all loaders.

        The loader has its own generator, so that loading does not change the global random state.
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
