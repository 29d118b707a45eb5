"""Data sets of strongly, weakly and not labelled clips (docs/recipe.md, "Data")."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from torch.utils.data import Dataset

from desed_task.dataio.audio import fit_length, read_excerpt
from desed_task.dataio.batch import Clip, ClipKind
from desed_task.errors import InputError
from desed_task.frames import FrameGrid
from desed_task.labels import Event, encode_strong

# A crop's start is no round decimal; without rounding, (onset - start) can fall a frame early.
_SHIFT_DECIMALS = 9


@dataclass(frozen=True, slots=True)
class ClipRequest:
    """A clip as training asks for it: its index, and the seed of everything random about it.

    What is drawn thus depends on the draw alone, and not on the worker process that serves it.
    """

    index: int
    seed: int


class ClipDataset(Dataset[Clip]):
    """Clips of one folder and one kind, cut or padded to the grid's length.

    Indexed by an integer, a longer clip begins at its start (validation, test); indexed by a
    `ClipRequest`, at a place drawn from the request's seed (training), its events moved along.
    Names and events lie in flat arrays, which worker processes share instead of copying them.
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
        """`events` has one list per name; `strong`, `weak`, `unlabelled` are shorter to write."""
        if len(names) != len(events):
            raise ValueError(f"{len(names)} names but {len(events)} lists of events")
        self.kind = kind
        self.classes = tuple(classes)
        self.grid = grid
        self._folder = str(folder)
        self._names = np.array([name.encode() for name in names], dtype=np.bytes_)
        counts = [len(of_clip) for of_clip in events]
        self._ends = np.cumsum([0, *counts])
        flat = [event for of_clip in events for event in of_clip]
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
    ) -> Self:
        """Clips whose events are known, `{name: events}`; their targets are frame labels."""
        names, events = list(annotations), list(annotations.values())
        return cls(folder, names, events, ClipKind.SYNTHETIC, classes, grid)

    @classmethod
    def weak(
        cls,
        folder: str | Path,
        annotations: Mapping[str, Sequence[str]],
        classes: Sequence[str],
        grid: FrameGrid,
    ) -> Self:
        """Clips whose tags are known, `{name: tags}`; a tag fills all frames of its class."""
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
        """Clips of which nothing is known; their targets are zeros."""
        listed = list(names)
        events: list[list[Event]] = [[] for _ in listed]
        return cls(folder, listed, events, ClipKind.UNLABELLED, classes, grid)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, item: "int | ClipRequest") -> Clip:
        """The clip. Raises InputError naming a file that cannot be read or is at another rate."""
        index, seed = (item.index, item.seed) if isinstance(item, ClipRequest) else (item, None)
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        name = self.name(index)
        path = f"{self._folder}/{name}"
        part = read_excerpt(path, self.grid.sample_rate, self.grid.n_samples, seed)
        events = self.events(index, part.start / self.grid.sample_rate)
        return Clip(
            audio=torch.from_numpy(fit_length(part.audio, self.grid.n_samples)),
            targets=torch.from_numpy(encode_strong(events, self.classes, self.grid)),
            kind=self.kind,
            name=name,
            seconds=part.file_seconds,
        )

    def name(self, index: int) -> str:
        """File name of a clip."""
        return bytes(self._names[index]).decode()

    def events(self, index: int, start_seconds: float = 0.0) -> list[Event]:
        """Events of the clip-long part that begins at `start_seconds`, in its own time.

        They are clipped to [0, clip length]; those outside are dropped, and of those that become
        equal one is kept.
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


class CombinedDataset(Dataset[Clip]):
    """Several data sets one after the other, indexed by an integer or a `ClipRequest`."""

    def __init__(self, parts: Sequence[ClipDataset]):
        self.parts = tuple(parts)
        self._ends = np.cumsum([len(part) for part in self.parts])

    @property
    def sizes(self) -> tuple[int, ...]:
        """Clips of each part."""
        return tuple(len(part) for part in self.parts)

    def __len__(self) -> int:
        return sum(self.sizes)

    def __getitem__(self, item: "int | ClipRequest") -> Clip:
        index = item.index if isinstance(item, ClipRequest) else item
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        place = int(np.searchsorted(self._ends, index, side="right"))
        local = index - (int(self._ends[place - 1]) if place else 0)
        part = self.parts[place]
        return part[ClipRequest(local, item.seed) if isinstance(item, ClipRequest) else local]


class WeakSplit(NamedTuple):
    """The two parts of the weakly labelled clips, each in the order of the annotations."""

    train: dict[str, tuple[str, ...]]
    validation: dict[str, tuple[str, ...]]


def weak_split(annotations: Mapping[str, tuple[str, ...]], fraction: float, seed: int) -> WeakSplit:
    """Draw `fraction` of the clips for training; the rest is for validation.

    The draw is the published one (`DataFrame.sample(frac=fraction, random_state=seed)` on the rows
    of the file), so that clips a published checkpoint was trained on stay out of the validation.
    Raises InputError where a part would be empty.
    """
    names = list(annotations)
    n_train = round(fraction * len(names))
    if not 0 < n_train < len(names):
        raise InputError(
            f"a split of {len(names)} weakly labelled clips at {fraction:g} leaves {n_train} for "
            "training: both parts need at least 1"
        )
    drawn = np.random.RandomState(seed).permutation(len(names))[:n_train]
    chosen = {names[index] for index in drawn}
    return WeakSplit(
        train={name: tags for name, tags in annotations.items() if name in chosen},
        validation={name: tags for name, tags in annotations.items() if name not in chosen},
    )
