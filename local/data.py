"""The recipe's training, validation and test data as a Lightning data module."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_only
from torch.utils.data import DataLoader, Subset

from desed_task import process_group
from desed_task.dataio.annotations import read_durations, read_strong, read_weak
from desed_task.dataio.batch import Batch, Clip, ClipKind, collate
from desed_task.dataio.coverage import Coverage, coverage_table, find_clips, write_missing_clips
from desed_task.dataio.datasets import (
    ClipDataset,
    CombinedDataset,
    WindowDataset,
    labelled_first,
    tag_events,
    weak_split,
)
from desed_task.dataio.embeddings import Embeddings
from desed_task.dataio.prepare import clip_seconds
from desed_task.dataio.sampler import MixtureBatchSampler
from desed_task.desed import SYNTHETIC_VALIDATION as VALIDATION
from desed_task.errors import InputError, shortened
from desed_task.evaluation.truth import GroundTruth
from desed_task.frames import FrameGrid
from desed_task.labels import Event
from local.audio_sets import prepare_sets, test_sets, training_sets
from local.config.data import AudioSet
from local.config.load import Config
from local.encoders import has_stored_embeddings, store_missing
from local.lightning_internals import training_position
from local.loading import EpochLoader, outlive_sigterm


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
        encoder_digest: of the encoder whose stored embeddings are read, where it is known.
        checkpoint: from which it is known, for messages.
        device: that computes embeddings that are not stored.

    Attributes, set by `setup`:
        training: clips of each set that is trained on, from one folder or several: with
            `training.labelled_share` the unlabelled set has clips of the labelled sets.
        weak_validation: the clips of the weak set that are not trained on; None without the set.
        labelled: the test sets and the synthetic validation set, by name; none that is absent.
        coverage: expected, found and missing clips of every set.
    """

    def __init__(
        self,
        config: Config,
        grid: FrameGrid,
        missing_list: str | Path,
        *,
        tune: bool = False,
        encoder_digest: str | None = None,
        checkpoint: Path | None = None,
        device: str = "cpu",
    ):
        super().__init__()
        self.prepare_data_per_node = False  # only process 0 of all nodes: they share the folders
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.tune = tune
        self.encoder_digest, self._checkpoint, self._device = encoder_digest, checkpoint, device
        self.config = config
        self.grid = grid
        self.training: dict[str, list[ClipDataset]] = {}
        self.weak_validation: ClipDataset | None = None
        self.labelled: dict[str, LabelledSet] = {}
        self.coverage: dict[str, Coverage] = {}
        self._missing_list = Path(missing_list)
        self._prepared: set[str] = set()
        self._shared: dict[str, int] = {}  # clips with labels, with `training.labelled_share`

    def prepare_data(self) -> None:
        """Write the missing resampled files, durations and embeddings; once, in one process."""
        testing = self.trainer is not None and self.trainer.state.fn == TrainerFn.TESTING
        sets = self._sets(testing).items()
        new = {name: audio_set for name, audio_set in sets if name not in self._prepared}
        workers = max(1, self.config.training.num_workers)
        data = self.config.data
        prepare_sets(new.values(), data.fs, workers, data.channel)
        if new and has_stored_embeddings(self.config):
            self.encoder_digest = store_missing(
                self.config,
                new.values(),
                self.encoder_digest,
                checkpoint=self._checkpoint,
                device=self._device,
            )
        self._prepared |= new.keys()

    def setup(self, stage: str) -> None:
        """Read and check the annotations, look for the audio files, print the coverage.

        Raises InputError for a wrong annotation file, an empty set, missing durations, or fewer
        clips to validate or test than there are processes.
        """
        sets = self._sets(stage == "test").items()
        new = {name: audio_set for name, audio_set in sets if name not in self.coverage}
        for name, audio_set in new.items():
            self._read(name, audio_set)
        if new:
            self._check_shares(stage)
            self._report()

    def _sets(self, testing: bool) -> dict[str, AudioSet]:
        """The sets that this run, or its test alone, reads."""
        training, tests = training_sets(self.config), test_sets(self.config)
        if testing:
            training = {VALIDATION: training[VALIDATION]} if self.tune else {}
        return training | tests

    def _read(self, name: str, audio_set: AudioSet) -> None:
        """Read a set's annotations; its clips that have audio become data sets."""
        classes, durations = self.config.data.classes, None
        seconds = clip_seconds(audio_set.folder, audio_set.original, self.config.data.fs)
        events: Mapping[str, Sequence[Event]]
        if audio_set.tsv is None:
            events = dict.fromkeys(seconds, ())
        elif name == "weak":
            events = tag_events(read_weak(audio_set.tsv, classes))
        else:
            if audio_set.durations is not None:
                durations = read_durations(audio_set.durations)
            ends = seconds if durations is None else durations
            events = read_strong(audio_set.tsv, classes, ends)
        coverage = find_clips(name, audio_set.folder, seconds, events)
        found = {clip: events[clip] for clip in coverage.found}
        self.coverage[name] = coverage
        stored = self._stored_embeddings(audio_set.folder, {c: seconds[c] for c in found})

        def dataset(clips: Mapping[str, Sequence[Event]], kind: ClipKind) -> ClipDataset:
            rows = None if stored is None else stored.rows([*clips])
            return ClipDataset(audio_set.folder, clips, seconds, kind, classes, self.grid, rows)

        if durations is not None:
            truth = self._truth(audio_set, found, durations)
            clips = dataset(found, ClipKind.SYNTHETIC)
            self.labelled[name] = LabelledSet(name, clips, truth, coverage)
            return
        kind = ClipKind[name.upper()]
        if kind == ClipKind.WEAK:
            # All annotated clips are split: a missing one does not change the others' split.
            training = self.config.training
            split = weak_split(list(events), training.weak_split, training.seed)
            others = {clip: found[clip] for clip in split.validation if clip in found}
            if not others:
                raise InputError(
                    f"{audio_set.folder}: no audio of weak clips for validation: expected at least "
                    f"1 of {len(split.validation)} clips, got 0"
                )
            self.weak_validation = dataset(others, kind)
            found = {clip: found[clip] for clip in split.train if clip in found}
        if self.config.clips_per_set[name]:
            labelled, rest = self._share_labels(name, found)
            self.training.setdefault(name, []).append(dataset(labelled, kind))
            if rest and self.config.clips_per_set["unlabelled"]:
                unlabelled = dataset(dict.fromkeys(rest, ()), ClipKind.UNLABELLED)
                self.training.setdefault("unlabelled", []).append(unlabelled)

    def _stored_embeddings(self, folder: str, seconds: Mapping[str, float]) -> Embeddings | None:
        """Those of the clips of a folder; None where an encoder reads the audio, or without one."""
        if not has_stored_embeddings(self.config):
            return None
        settings: Any = self.config.encoder
        stored = Embeddings.of(folder, settings, self.grid, self.encoder_digest or "")
        missing = stored.missing(seconds, self.grid)
        if missing:
            raise InputError(
                f"{folder}: encoder.mode cached: expected stored embeddings of {len(seconds)} "
                f"clips, got none of {shortened(missing)}: python -m local.embed stores them"
            )
        return stored

    def _share_labels(
        self, name: str, clips: Mapping[str, Sequence[Event]]
    ) -> tuple[dict[str, Sequence[Event]], list[str]]:
        """The clips whose labels are used, with them, and the names of the others."""
        share, names = self.config.training.labelled_share, list(clips)
        if share == 1 or name == "unlabelled":
            return dict(clips), []
        labels = [{event.event_label for event in events} for events in clips.values()]
        order = labelled_first(labels, self.config.training.seed)
        used = {names[index] for index in order[: max(1, round(share * len(names)))]}
        self._shared[name] = len(used)
        labelled = {clip: events for clip, events in clips.items() if clip in used}
        return labelled, [clip for clip in names if clip not in used]

    def _truth(
        self,
        audio_set: AudioSet,
        events: Mapping[str, Sequence[Event]],
        durations: Mapping[str, float],
    ) -> GroundTruth:
        missing = [clip for clip in events if clip not in durations]
        if missing:
            raise InputError(
                f"{audio_set.durations}: missing clips: expected durations of {len(events)} clips, "
                f"got none of {shortened(missing)}; delete the file to have it written again from "
                f"{audio_set.folder}"
            )
        classes, source = self.config.data.classes, str(audio_set.tsv)
        return GroundTruth.merged(classes, events, durations, source=source)

    def _check_shares(self, stage: str) -> None:
        ranks = process_group.ranks()
        sets = {"test": [test_set.clips for test_set in self.test_sets]}
        if stage != "test":
            sets["validation"] = self._validation_clips()
        for name, datasets in sets.items():
            if not datasets:
                continue
            size = max(len(WindowDataset(clips)) for clips in datasets)
            if size < ranks:
                raise InputError(
                    f"{name}: expected a set of at least {ranks} clips, one for each process, "
                    f"got at most {size}"
                )

    @rank_zero_only
    def _report(self) -> None:
        names = [*training_sets(self.config), *test_sets(self.config)]
        coverages = [self.coverage[name] for name in names if name in self.coverage]
        print(coverage_table(coverages))
        if self._shared:
            counts = ", ".join(f"{count} {name}" for name, count in self._shared.items())
            share = self.config.training.labelled_share
            print(f"training.labelled_share {share:g}: trained with the labels of {counts} clips")
        evaluated = {each.name: [each.clips] for each in [*self.test_sets, *self._synth_validation]}
        if self.weak_validation is not None:
            evaluated["weak validation"] = [self.weak_validation]
        self._report_longer(self.training, "training crops them at random")
        self._report_longer(evaluated, "they are read whole, in windows")
        write_missing_clips(coverages, self._missing_list)

    def _report_longer(self, datasets: Mapping[str, Sequence[ClipDataset]], remark: str) -> None:
        """Print a line on the clips that are longer than the grid, if there are any."""
        counts = {name: sum(each.n_longer for each in clips) for name, clips in datasets.items()}
        if any(counts.values()):
            by_set = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
            print(
                f"{sum(counts.values())} clips are longer than data.audio_max_len "
                f"({self.grid.clip_seconds:g} s): {by_set}; {remark}"
            )

    # ---- what was read ---------------------------------------------------------------------

    @property
    def test_sets(self) -> list[LabelledSet]:
        """The main test set and the second one, if there is one."""
        return [self.labelled[name] for name in test_sets(self.config)]

    @property
    def _synth_validation(self) -> list[LabelledSet]:
        """The synthetic validation set, if it was read."""
        return [self.labelled[VALIDATION]] if VALIDATION in self.labelled else []

    @property
    def tested_sets(self) -> list[LabelledSet]:
        """The sets that a test predicts: `test_sets`, and with `tune` the validation set."""
        return self.test_sets + (self._synth_validation if self.tune else [])

    @property
    def validation_truth(self) -> GroundTruth:
        """Events and durations of the synthetic validation set; without the set, of no clip."""
        for validation in self._synth_validation:
            return validation.truth
        return GroundTruth(tuple(self.config.data.classes), {}, {})

    def _validation_clips(self) -> list[ClipDataset]:
        """The weak validation clips and the synthetic ones, without an absent set."""
        weak = [] if self.weak_validation is None else [self.weak_validation]
        return weak + [validation.clips for validation in self._synth_validation]

    # ---- loaders ---------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader[Clip]:
        """Batches of 6 + 6 + 12 clips, or as configured, in the order of `ClipKind`."""
        sizes, training = self.config.clips_per_set, self.config.training
        sets = {name: self.training.get(name, []) for name in sizes}
        steps = training.steps_per_epoch
        sampler = MixtureBatchSampler(
            {name: sum(map(len, datasets)) for name, datasets in sets.items()},
            sizes,
            training.seed,
            batches=None if steps is None else steps * training.accumulate_batches,
            rank=process_group.rank(),
            ranks=process_group.ranks(),
        )
        return EpochLoader(
            CombinedDataset([clips for datasets in sets.values() for clips in datasets]),
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

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """The batch on the device; a page-locked one is copied without waiting.

        16-bit audio becomes float32 on the device, so that half as many bytes are copied.
        """
        return batch.to(device, non_blocking=True).with_float_audio()

    def _evaluation_loader(self, clips: ClipDataset, persistent: bool) -> DataLoader[Clip]:
        windows = WindowDataset(clips)
        own = Subset(windows, process_group.own_share(len(windows)))
        size = self.config.training.batch_size_val
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
