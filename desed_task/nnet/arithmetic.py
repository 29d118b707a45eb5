"""Arithmetic of the network."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from desed_task.encoder.settings import EncoderSettings
from desed_task.nnet.cpu import band_convolution
from desed_task.nnet.crnn import CRNN
from desed_task.nnet.frequency_dynamic import FrequencyDynamicConv
from desed_task.nnet.settings import NetworkSettings


@torch.no_grad()
def count_multiply_adds(
    settings: NetworkSettings,
    n_classes: int,
    n_mels: int,
    n_hops: int,
    encoder: EncoderSettings | None = None,
    *,
    device: str = "cuda",
) -> int:
    """Multiply-adds of convolutions, linear layers and GRUs for one clip's `(n_mels, n_hops)`.

    Those of an encoder are not included. They depend on the type of the device: a
    frequency-dynamic convolution is one convolution per basis kernel on a GPU; on a CPU (`cpu`) it
    is one alone, whose kernels are summed before.

    Counted without values, on the device `meta`: a GRU is a series of matrix products there, which
    the counter sees; on a GPU it is one operation that the counter ignores.
    """
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network = CRNN(settings, n_classes, encoder).eval()
        for module in network.modules():
            if device == "cpu" and isinstance(module, FrequencyDynamicConv):
                module.convolution = band_convolution
        embeddings = None
        if encoder is not None:
            embeddings = torch.zeros(1, n_hops // settings.time_pooling, encoder.width)
        network(torch.zeros(1, n_mels, n_hops), embeddings=embeddings)
    return counter.get_total_flops() // 2  # a multiply-add is two operations
