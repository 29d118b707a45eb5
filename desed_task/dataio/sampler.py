"""Which clips make up the batches of an epoch (docs/recipe.md, "One training step")."""

from collections.abc import Iterator, Mapping

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

    Args:
        sizes: clips of each set by its name, in the order of the `CombinedDataset`.
        batch_sizes: clips of each set in a batch, the same names; 0 leaves a set out.
        seed: seed of all draws.
        epoch: the epoch to begin with.

    Raises InputError for a set that is smaller than its share of one batch, and ValueError for
    other names, negative shares, or nothing but zero.

    Example:
        >>> sampler = MixtureBatchSampler({"a": 4, "b": 6}, {"a": 1, "b": 2}, seed=0)
        >>> len(sampler), [len(batch) for batch in sampler]
        (3, [3, 3, 3])
    """

    def __init__(
        self, sizes: Mapping[str, int], batch_sizes: Mapping[str, int], seed: int, epoch: int = 0
    ):
        shares = batch_sizes.values()
        if sizes.keys() != batch_sizes.keys() or min(shares) < 0 or max(shares) == 0:
            raise ValueError(f"sizes {sizes} and batch_sizes {batch_sizes} do not fit")
        for name, size in sizes.items():
            if size < batch_sizes[name]:
                raise InputError(
                    f"the {name} set has {size} clips, fewer than the {batch_sizes[name]} "
                    "of each batch"
                )
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
        return min(self.sizes[name] // share for name, share in self.batch_sizes.items() if share)

    def __iter__(self) -> Iterator[list[ClipRequest]]:
        indices, seeds = self._draw()
        rest = slice(self.first_batch, None)
        for of_batch, of_clips in zip(indices[rest], seeds[rest], strict=True):
            pairs = zip(of_batch.tolist(), of_clips.tolist(), strict=True)
            yield [ClipRequest(index, seed) for index, seed in pairs]

    def _draw(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices and seeds of the epoch's clips, `(steps, batch)` each."""
        steps = len(self)
        indices, first = [], 0
        for number, (name, size) in enumerate(self.sizes.items()):
            share = self.batch_sizes[name]
            rng = np.random.default_rng([self.seed, self.epoch, number])
            drawn = rng.permutation(size)[: steps * share]
            indices.append(first + drawn.reshape(steps, share))
            first += size
        rng = np.random.default_rng([self.seed, self.epoch, len(self.sizes)])
        seeds = rng.integers(2**63, size=(steps, sum(self.batch_sizes.values())))
        return np.concatenate(indices, axis=1), seeds
