"""Which clips make up the batches of an epoch (docs/recipe.md, "One training step")."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from desed_task.dataio.datasets import ClipRequest
from desed_task.errors import InputError


class MixtureBatchSampler(Sampler[list[ClipRequest]]):
    """Batches with a fixed number of clips of each set, for a `CombinedDataset` of these sets.

    Every batch holds `batch_sizes[name]` clips of each set, the sets in order. An epoch ends when
    the smallest set, per its share of the batch, is used up; its incomplete last batch is dropped.
    Each epoch draws new permutations of all sets, and a seed for each clip, from `seed` and the
    epoch alone: an epoch is the same in every run that reaches it, resumed or not.

    Several processes (`ranks`) share the epoch of batches that are as many times larger: they draw
    the same, and each takes its own part of every set's share of every batch. No clip is in two
    parts, all have equally many batches, and together they are what one process would see.

    Args:
        sizes: clips of each set by its name, in the order of the `CombinedDataset`.
        batch_sizes: clips of each set in a batch of each process, the same names; 0 leaves a set
            out.
        seed: seed of all draws.
        epoch: the epoch to begin with.
        rank, ranks: which of how many processes this one is.

    Raises InputError for a set that is smaller than its share of one batch of all processes, and
    ValueError for other names, negative shares, nothing but zero, or a rank that is none.

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
        rank: int = 0,
        ranks: int = 1,
    ):
        shares = batch_sizes.values()
        if sizes.keys() != batch_sizes.keys() or min(shares) < 0 or max(shares) == 0:
            raise ValueError(f"sizes {sizes} and batch_sizes {batch_sizes} do not fit")
        if not 0 <= rank < ranks:
            raise ValueError(f"rank {rank} of {ranks}: 0 to {ranks - 1} is right")
        together = f" ({ranks} processes together)" if ranks > 1 else ""
        for name, size in sizes.items():
            wanted = ranks * batch_sizes[name]
            if size < wanted:
                raise InputError(
                    f"the {name} set has {size} clips, fewer than the {wanted} of each batch"
                    + together
                )
        self.rank, self.ranks = rank, ranks
        self.sizes = dict(sizes)
        self.batch_sizes = dict(batch_sizes)
        self.seed = seed
        self.epoch = epoch
        self.first_batch = 0

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """Choose the epoch whose batches the next iteration yields, and the first of them.

        An epoch that was interrupted goes on with the batch that it had come to.
        """
        self.epoch = epoch
        self.first_batch = first_batch

    def __len__(self) -> int:
        shares = {name: self.ranks * share for name, share in self.batch_sizes.items() if share}
        return min(self.sizes[name] // share for name, share in shares.items())

    def __iter__(self) -> Iterator[list[ClipRequest]]:
        indices, seeds = self._draw()
        rest = slice(self.first_batch, None)
        for of_batch, of_clips in zip(indices[rest], seeds[rest], strict=True):
            pairs = zip(of_batch.tolist(), of_clips.tolist(), strict=True)
            yield [ClipRequest(index, seed) for index, seed in pairs]

    def _draw(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices and seeds of this process's clips of the epoch, `(steps, batch)` each."""
        steps, names = len(self), list(self.sizes)
        # Of all processes: a set's share of a step is a block, process after process.
        shares = [self.ranks * self.batch_sizes[name] for name in names]
        rng = np.random.default_rng([self.seed, self.epoch, len(names)])
        seeds = rng.integers(2**63, size=(steps, sum(shares)))
        indices, first = [], 0
        for number, (name, share) in enumerate(zip(names, shares, strict=True)):
            rng = np.random.default_rng([self.seed, self.epoch, number])
            drawn = rng.permutation(self.sizes[name])[: steps * share]
            indices.append(first + drawn.reshape(steps, share))
            first += self.sizes[name]
        own = self._own_columns(shares)
        return np.concatenate(indices, axis=1)[:, own], seeds[:, own]

    def _own_columns(self, shares: Sequence[int]) -> NDArray[np.int64]:
        """Which columns of a step of all processes are this one's; `shares`: columns per set."""
        ends = np.cumsum(shares)
        blocks = [
            np.arange(end - share, end).reshape(self.ranks, -1)[self.rank]
            for end, share in zip(ends.tolist(), shares, strict=True)
        ]
        return np.concatenate(blocks)
