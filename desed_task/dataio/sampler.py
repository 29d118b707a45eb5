"""Batches of an epoch with a fixed number of clips of each set.

Source: docs/recipe.md, "One training step".
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from desed_task.dataio.datasets import ClipRequest
from desed_task.errors import InputError


class MixtureBatchSampler(Sampler[list[ClipRequest]]):
    """Batches with a fixed number of clips of each set, for a `CombinedDataset` of these sets.

    Every batch has `batch_sizes[name]` clips of each set, in the order of the sets. Clips are drawn
    from permutations of their set, with a seed for each draw, from `seed` and the epoch alone: a
    resumed run draws the same epoch as an uninterrupted one.

    Without `batches`, the set with the fewest batches ends the epoch; its incomplete last batch is
    dropped, and each epoch has new permutations. With `batches`, every epoch has this number,
    whatever the sizes of the sets: each set's permutation continues over the batches and epochs,
    and a new one follows it. All clips of a set are drawn before one is drawn again.

    With several processes (`ranks`), a batch of all of them is `ranks` times as large: all draw the
    same batches, and each takes its own share of the clips of every set. No clip is in two shares,
    and all processes have the same number of batches.

    Args:
        sizes: clips of each set by its name, in the order of the `CombinedDataset`.
        batch_sizes: clips of each set in a batch of one process, the same names; 0 excludes a set.
        seed: seed of all draws.
        epoch: the first epoch.
        batches: batches of an epoch; None: as many as the sets have.
        rank, ranks: number of this process, from 0, and number of processes.

    Raises InputError for a set with fewer clips than one batch of all processes has of it, with
    `batches` for an empty set, and ValueError for other names, negative batch sizes, only zeros, or
    an impossible rank.

    Example:
        >>> sampler = MixtureBatchSampler({"a": 4, "b": 6}, {"a": 1, "b": 2}, seed=0)
        >>> len(sampler), [len(batch) for batch in sampler]
        (3, [3, 3, 3])
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        batch_sizes: Mapping[str, int],
        seed: int,
        epoch: int = 0,
        *,
        batches: int | None = None,
        rank: int = 0,
        ranks: int = 1,
    ):
        shares = batch_sizes.values()
        if sizes.keys() != batch_sizes.keys() or min(shares) < 0 or max(shares) == 0:
            raise ValueError(f"batch_sizes: expected counts for {list(sizes)}, got {batch_sizes}")
        if not 0 <= rank < ranks:
            raise ValueError(f"rank: expected 0 to {ranks - 1}, got {rank}")
        shared_by = f" of {ranks} processes" if ranks > 1 else ""
        for name, size in sizes.items():
            wanted = ranks * batch_sizes[name]
            if batches is None and size < wanted:
                raise InputError(
                    f"{name} set: expected at least the {wanted} clips of one batch{shared_by}, or "
                    f"a given number of steps per epoch, got {size}"
                )
            if wanted and not size:
                raise InputError(f"{name} set: expected at least 1 clip, got 0")
        self.rank, self.ranks = rank, ranks
        self.batches = batches
        self.sizes = dict(sizes)
        self.batch_sizes = dict(batch_sizes)
        self.seed = seed
        self.epoch = epoch
        self.first_batch = 0

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """Set the epoch of the next iteration, and the number of its first batch (resuming)."""
        self.epoch = epoch
        self.first_batch = first_batch

    def __len__(self) -> int:
        if self.batches is not None:
            return self.batches
        shares = {name: self.ranks * share for name, share in self.batch_sizes.items() if share}
        return min(self.sizes[name] // share for name, share in shares.items())

    def __iter__(self) -> Iterator[list[ClipRequest]]:
        indices, seeds = self._draw()
        rest = slice(self.first_batch, None)
        for batch_indices, batch_seeds in zip(indices[rest], seeds[rest], strict=True):
            pairs = zip(batch_indices.tolist(), batch_seeds.tolist(), strict=True)
            yield [ClipRequest(index, seed) for index, seed in pairs]

    def _draw(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices and seeds of this process's clips of the epoch, `(steps, batch)` each."""
        steps, names = len(self), list(self.sizes)
        # Clips of all processes: a set's clips of a step are a block, ordered by rank.
        shares = [self.ranks * self.batch_sizes[name] for name in names]
        rng = np.random.default_rng([self.seed, self.epoch, len(names)])
        seeds = rng.integers(2**63, size=(steps, sum(shares)))
        indices, first = [], 0
        for number, (name, share) in enumerate(zip(names, shares, strict=True)):
            if share:
                drawn = self._draw_set(number, self.sizes[name], steps * share)
                indices.append(first + drawn.reshape(steps, share))
            first += self.sizes[name]
        own = self._own_columns(shares)
        return np.concatenate(indices, axis=1)[:, own], seeds[:, own]

    def _draw_set(self, number: int, size: int, count: int) -> NDArray[np.int64]:
        """The `count` clips of the epoch of a set of `size` clips, by its number."""
        # The set's permutations one after the other; without `batches` an epoch begins a new one.
        begin = self.epoch * (size if self.batches is None else count)
        rounds = range(begin // size, -(-(begin + count) // size))
        rngs = [np.random.default_rng([self.seed, each, number]) for each in rounds]
        drawn = np.concatenate([rng.permutation(size) for rng in rngs])
        return drawn[begin % size :][:count]

    def _own_columns(self, shares: Sequence[int]) -> NDArray[np.int64]:
        """Columns of this process in a step of all processes; `shares`: columns per set."""
        ends = np.cumsum(shares)
        blocks = [
            np.arange(end - share, end).reshape(self.ranks, -1)[self.rank]
            for end, share in zip(ends.tolist(), shares, strict=True)
        ]
        return np.concatenate(blocks)
