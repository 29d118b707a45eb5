"""Data sets of strongly labelled, weakly labelled and unlabelled clips.

Source: docs/recipe.md, "Data".
"""

import copy
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from desed_task.dataio.audio import fit_length, read_excerpt
from desed_task.dataio.batch import Clip, ClipKind
from desed_task.dataio.embeddings import StoredRows
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
    it whole (validation, test). With stored embeddings the random crop is one of its windows.
    Names and events are flat arrays, which worker processes share instead of copying.

    Args:
        folder: of the audio, at the grid's rate.
        events: events of each clip by its file name; see `tag_events` for clips with tags.
        seconds: length of each clip (and perhaps of others) by its file name.
        kind: what the labels are.
        classes: in the order of the targets' rows.
        grid: the clips' time axis.
        embeddings: stored ones of the windows of each clip, in the order of `events`.

    Attributes:
        n_samples: length of each clip, `(clips,)`, int64.
    """

    def __init__(
        self,
        folder: str | Path,
        events: Mapping[str, Sequence[Event]],
        seconds: Mapping[str, float],
        kind: ClipKind,
        classes: Sequence[str],
        grid: FrameGrid,
        embeddings: StoredRows | None = None,
    ):
        self.kind = kind
        self.embeddings = embeddings
        self.classes = tuple(classes)
        self.grid = grid
        self._folder = str(folder)
        self._names = np.array([name.encode() for name in events], dtype=np.bytes_)
        lengths = np.array([seconds[name] for name in events], dtype=np.float64)
        self.n_samples = np.rint(lengths * grid.sample_rate).astype(np.int64)
        self._ends = np.cumsum([0, *map(len, events.values())])
        flat = [event for clip_events in events.values() for event in clip_events]
        self._times = np.array([event[:2] for event in flat], dtype=np.float64).reshape(-1, 2)
        index_of = {label: index for index, label in enumerate(self.classes)}
        self._labels = np.array([index_of[event.event_label] for event in flat], dtype=np.int16)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, item: "int | ClipRequest") -> Clip:
        """The clip. Raises InputError naming a file that cannot be read or is at another rate."""
        if isinstance(item, ClipRequest):
            return self.section(item.index, seed=item.seed)
        return self.section(item)

    def section(self, index: int, first_frame: int = 0, seed: int | None = None) -> Clip:
        """The section of a clip that begins at a frame, or where the seed draws it.

        Errors as of `__getitem__`.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        name, grid, embeddings = self.name(index), self.grid, None
        start = first_frame * grid.samples_per_frame
        if self.embeddings is not None:
            starts = window_starts(int(self.n_samples[index]), grid)
            if seed is None:
                window = starts.index(first_frame)
            else:
                window = int(np.random.default_rng(seed).integers(len(starts)))
                start, seed = starts[window] * grid.samples_per_frame, None
            embeddings = torch.from_numpy(self.embeddings.read(index, window))
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
            embeddings=embeddings,
        )

    def on_grid(self, grid: FrameGrid) -> "ClipDataset":
        """The same clips with another time axis, at the same sample rate, without embeddings."""
        changed = copy.copy(self)
        changed.grid, changed.embeddings = grid, None
        return changed

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


def tag_events(tags: Mapping[str, Sequence[str]]) -> dict[str, list[Event]]:
    """`{name: tags}` as events, `{name: events}`: a tag fills all frames of its class."""
    return {
        name: [Event(-np.inf, np.inf, tag) for tag in clip_tags] for name, clip_tags in tags.items()
    }


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
        return self.clips.section(int(self._clip[index]), int(self._first_frame[index]))

    def targets(self, index: int) -> NDArray[np.float32]:
        """Targets of a window without padding, `(classes, frames)`; its audio is not read."""
        clips, clip = self.clips, int(self._clip[index])
        start = int(self._first_frame[index]) * clips.grid.samples_per_frame
        rate = clips.grid.sample_rate
        targets = encode_strong(clips.events(clip, start / rate), clips.classes, clips.grid)
        return targets[:, : clips.grid.offset_to_frame((clips.n_samples[clip] - start) / rate)]


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


def labelled_first(labels: Sequence[Collection[str]], seed: int) -> list[int]:
    """Order of the clips in which a person would label them: drawn, but soon with every class.

    The first clip of each class, the class with the fewest clips first, precedes the others.

    Args:
        labels: classes of each clip.
        seed: of the draw.
    """
    drawn = np.random.default_rng(seed).permutation(len(labels)).tolist()
    counts = Counter(label for clip in labels for label in set(clip))
    rarest = sorted(counts, key=lambda label: (counts[label], label))
    first = [next(clip for clip in drawn if label in labels[clip]) for label in rarest]
    return list(dict.fromkeys([*first, *drawn]))


class WeakSplit(NamedTuple):
    """Names of the weakly labelled clips for training and validation, in the annotations' order."""

    train: list[str]
    validation: list[str]


def weak_split(names: Sequence[str], fraction: float, seed: int) -> WeakSplit:
    """Draw `fraction` of the clips for training; the others are for validation.

    The draw is the published one (`DataFrame.sample(frac=fraction, random_state=seed)` on the rows
    of the file), so that no clip that a published checkpoint was trained on is validated on.
    Raises InputError if either would be empty.
    """
    n_train = round(fraction * len(names))
    if not 0 < n_train < len(names):
        raise InputError(
            f"training.weak_split: expected at least 1 clip for training and 1 for validation, got "
            f"{n_train} and {len(names) - n_train} with {fraction:g} of {len(names)} weak clips"
        )
    drawn = np.random.RandomState(seed).permutation(len(names))[:n_train]
    chosen = {names[index] for index in drawn}
    return WeakSplit(
        train=[name for name in names if name in chosen],
        validation=[name for name in names if name not in chosen],
    )
