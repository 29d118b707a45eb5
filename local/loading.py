"""The loader of training batches, and the signals of its processes."""

import signal
from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import DataLoader

from desed_task.dataio.batch import Batch, Clip
from desed_task.dataio.datasets import CombinedDataset
from desed_task.dataio.sampler import MixtureBatchSampler

LOADERS_GRACE = 60  # seconds


class EpochLoader(DataLoader[Clip]):
    """A loader that sets its sampler's epoch and first batch when its first batch is requested.

    `position` returns the epoch and the number of its batches that were trained on; a run that is
    resumed in the middle of an epoch continues with the next batch.

    This is needed because Lightning makes the iterator before it knows, on resuming, which epoch
    it is in, and because it sets the epoch of samplers only, not that of batch samplers.
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


def outlive_sigterm(worker: int) -> None:
    """Let a loading process continue for a while after SIGTERM, and after Ctrl-C as the main one.

    A signal to all processes of a job must not take the data from a step that is being completed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):  # Windows has none, and sends no SIGTERM
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(LOADERS_GRACE))
