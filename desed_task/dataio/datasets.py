"""Data sets of strongly labelled, weakly labelled and unlabelled clips.

Source: docs/recipe.md, "Data".
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from desed_task.dataio.audio import fit_length, read_excerpt
from desed_task.dataio.batch import Clip, ClipKind
from desed_task.dataio.prepare import clip_seconds
from desed_task.dataio.recordings import clip_path
from desed_task.errors import InputError
from desed_task.frames import FrameGrid
from desed_task.labels import Event, encode_strong
from desed_task.windows import window_starts

# A crop starts at a whole sample, which is not a round decimal of seconds; without rounding,
# (onset - start) can fall into the frame before.
_SHIFT_DECIMALS = 9


@dataclass(frozen=True, slots=True)
class ClipRequest:
    """The clip that a training batch requests: its index, and the seed of its random crop.

    The crop depends on this seed alone, and not on the worker process that reads the clip.
    """

    index: int
    seed: int


class ClipDataset(Dataset[Clip]):
    """Clips of one folder and one kind, cropped or padded to the grid's length.

    A longer clip is cropped at a random start when indexed by a `ClipRequest` (training), and at
    its start when indexed by an integer; its events are shifted accordingly. `WindowDataset` reads
    it whole (validation, test).
    Names and events are flat arrays, which worker processes share instead of copying.
    """

    def __init__(
        self,
        folder: str | Path,
        names: Sequence[str],
        events: Sequence[Sequence[Event]],
        kind: ClipKind,
        classes: Sequence[str],
        grid: FrameGrid,
    ):
        """Take one list of events per name; see `strong`, `weak` and `unlabelled`."""
        if len(names) != len(events):
            raise ValueError(f"{len(names)} names but {len(events)} lists of events")
        self.kind = kind
        self.classes = tuple(classes)
        self.grid = grid
        self._folder = str(folder)
        self._names = np.array([name.encode() for name in names], dtype=np.bytes_)
        counts = [len(clip_events) for clip_events in events]
        self._ends = np.cumsum([0, *counts])
        flat = [event for clip_events in events for event in clip_events]
        self._times = np.array([event[:2] for event in flat], dtype=np.float64).reshape(-1, 2)
        index_of = {label: index for index, label in enumerate(self.classes)}
        self._labels = np.array([index_of[event.event_label] for event in flat], dtype=np.int16)

    @classmethod
    def strong(
        cls,
        folder: str | Path,
        annotations: Mapping[str, Sequence[Event]],
        classes: Sequence[str],
        grid: FrameGrid,
        kind: ClipKind = ClipKind.SYNTHETIC,
    ) -> Self:
        """Clips with known events, `{name: events}`; their targets are frame labels."""
        names, events = list(annotations), list(annotations.values())
        return cls(folder, names, events, kind, classes, grid)

    @classmethod
    def weak(
        cls,
        folder: str | Path,
        annotations: Mapping[str, Sequence[str]],
        classes: Sequence[str],
        grid: FrameGrid,
    ) -> Self:
        """Clips with known tags, `{name: tags}`; a tag fills all frames of its class."""
        events = [[Event(-np.inf, np.inf, tag) for tag in tags] for tags in annotations.values()]
        return cls(folder, list(annotations), events, ClipKind.WEAK, classes, grid)

    @classmethod
    def unlabelled(
        cls,
        folder: str | Path,
        names: Iterable[str],
        classes: Sequence[str],
        grid: FrameGrid,
    ) -> Self:
        """Clips without labels; their targets are zeros."""
        listed = list(names)
        events: list[list[Event]] = [[] for _ in listed]
        return cls(folder, listed, events, ClipKind.UNLABELLED, classes, grid)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, item: "int | ClipRequest") -> Clip:
        """The clip. Raises InputError naming a file that cannot be read or is at another rate."""
        if isinstance(item, ClipRequest):
            return self._section(item.index, seed=item.seed)
        return self._section(item)

    def window(self, index: int, first_frame: int) -> Clip:
        """The section of a clip that begins at a frame; errors as of `__getitem__`."""
        return self._section(index, first_frame)

    def _section(self, index: int, first_frame: int = 0, seed: int | None = None) -> Clip:
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        name, grid = self.name(index), self.grid
        start = first_frame * grid.samples_per_frame
        path = clip_path(self._folder, name)
        excerpt = read_excerpt(path, grid.sample_rate, grid.n_samples, seed, start=start)
        events = self.events(index, excerpt.start / self.grid.sample_rate)
        return Clip(
            audio=torch.from_numpy(fit_length(excerpt.audio, self.grid.n_samples)),
            targets=torch.from_numpy(encode_strong(events, self.classes, self.grid)),
            kind=self.kind,
            name=name,
            seconds=excerpt.file_seconds,
            first_frame=first_frame,
        )

    @cached_property
    def n_samples(self) -> NDArray[np.int64]:
        """Length of each clip in samples, `(clips,)`, at the grid's rate; see `clip_seconds`."""
        names = [self.name(index) for index in range(len(self))]
        seconds = clip_seconds(self._folder, names, self.grid.sample_rate)
        lengths = np.array([seconds[name] for name in names], dtype=np.float64)
        return np.rint(lengths * self.grid.sample_rate).astype(np.int64)

    @property
    def n_longer(self) -> int:
        """Number of clips that are longer than the grid."""
        return int((self.n_samples > self.grid.n_samples).sum())

    def name(self, index: int) -> str:
        """File name of a clip."""
        return bytes(self._names[index]).decode()

    def events(self, index: int, start_seconds: float = 0.0) -> list[Event]:
        """Events of the crop that begins at `start_seconds`, in seconds from there.

        They are clipped to [0, clip length]; events outside are dropped, equal ones merged.
        """
        rows = slice(self._ends[index], self._ends[index + 1])
        shifted = np.round(self._times[rows] - start_seconds, _SHIFT_DECIMALS)
        times = np.clip(shifted, 0.0, self.grid.clip_seconds)
        events = [
            Event(float(onset), float(offset), self.classes[label])
            for (onset, offset), label in zip(times, self._labels[rows], strict=True)
            if onset < offset
        ]
        return list(dict.fromkeys(events))


class WindowDataset(Dataset[Clip]):
    """Whole clips as windows of the grid's length, one clip after the other (validation, test).

    A clip that fits the grid is one window; see `desed_task.windows`.
    """

    def __init__(self, clips: ClipDataset):
        self.clips = clips
        starts = [window_starts(n_samples, clips.grid) for n_samples in clips.n_samples.tolist()]
        self._clip = np.repeat(np.arange(len(clips)), [len(clip_starts) for clip_starts in starts])
        self._first_frame = np.concatenate([np.zeros(0, dtype=np.int64), *starts])

    def __len__(self) -> int:
        return len(self._clip)

    def __getitem__(self, index: int) -> Clip:
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        return self.clips.window(int(self._clip[index]), int(self._first_frame[index]))


class CombinedDataset(Dataset[Clip]):
    """Several data sets concatenated, indexed by an integer or a `ClipRequest`."""

    def __init__(self, datasets: Sequence[ClipDataset]):
        self._datasets = tuple(datasets)
        self._ends = np.cumsum([len(dataset) for dataset in datasets])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, item: "int | ClipRequest") -> Clip:
        index = item.index if isinstance(item, ClipRequest) else item
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        number = int(np.searchsorted(self._ends, index, side="right"))
        local = index - (int(self._ends[number - 1]) if number else 0)
        dataset = self._datasets[number]
        return dataset[ClipRequest(local, item.seed) if isinstance(item, ClipRequest) else local]


class WeakSplit(NamedTuple):
    """The weakly labelled clips for training and validation, in the order of the annotations."""

    train: dict[str, tuple[str, ...]]
    validation: dict[str, tuple[str, ...]]


def weak_split(annotations: Mapping[str, tuple[str, ...]], fraction: float, seed: int) -> WeakSplit:
    """Draw `fraction` of the clips for training; the others are for validation.

    The draw is the published one (`DataFrame.sample(frac=fraction, random_state=seed)` on the rows
    of the file), so that no clip that a published checkpoint was trained on is validated on.
    Raises InputError if either would be empty.
    """
    names = list(annotations)
    n_train = round(fraction * len(names))
    if not 0 < n_train < len(names):
        raise InputError(
            f"training.weak_split: expected at least 1 clip for training and 1 for validation, got "
            f"{n_train} and {len(names) - n_train} with {fraction:g} of {len(names)} weak clips"
        )
    drawn = np.random.RandomState(seed).permutation(len(names))[:n_train]
    chosen = {names[index] for index in drawn}
    return WeakSplit(
        train={name: tags for name, tags in annotations.items() if name in chosen},
        validation={name: tags for name, tags in annotations.items() if name not in chosen},
    )
