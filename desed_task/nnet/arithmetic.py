"""Arithmetic of the network."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from desed_task.nnet.crnn import CRNN
from desed_task.nnet.settings import NetworkSettings


@torch.no_grad()
def count_multiply_adds(settings: NetworkSettings, n_classes: int, n_mels: int, n_hops: int) -> int:
    """Multiply-adds of convolutions, linear layers and GRUs for one clip's `(n_mels, n_hops)`.

    Counted without values, on the device `meta`: a GRU is a series of matrix products there, which
    the counter sees; on a GPU it is one operation that the counter ignores.
    """
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        CRNN(settings, n_classes).eval()(torch.zeros(1, n_mels, n_hops))
    return counter.get_total_flops() // 2  # a multiply-add is two operations
