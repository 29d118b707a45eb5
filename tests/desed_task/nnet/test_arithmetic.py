"""Counted multiply-adds against a formula."""

import pytest

from desed_task.nnet.arithmetic import count_multiply_adds
from local.config.load import Config, load_config
from tests.support.paths import CONFS


def _multiply_adds_by_hand(config: Config) -> int:
    net, bands, frames, total = config.net, config.feats.n_mels, config.grid.n_hops, 0
    before, sizes = 1, []
    for channels, (time, band) in zip(net.nb_filters, net.pooling, strict=True):
        total += bands * frames * channels * (9 * before + channels)
        bands, frames, before = bands // band, frames // time, channels
        sizes.append(bands * frames)
    fused = net.nb_filters[-2] + net.nb_filters[-3]
    total += 2 * sizes[-1] * fused * before
    cells, width = net.n_RNN_cell, before
    for channels, (_, band) in zip(net.sed_filters, net.sed_pooling, strict=True):
        total += bands * frames * channels * (9 * width + channels)
        bands, width = bands // band, channels
    for inputs in (width, before):
        for layer in range(net.rnn_layers):
            inputs_of_layer = 2 * cells if layer else inputs
            total += 2 * frames * 3 * cells * (inputs_of_layer + cells)
    return total + frames * 2 * cells * (10 + 10 + 3)


@pytest.mark.parametrize("name", ["sed.yaml", "demo.yaml"])
def test_multiply_adds(name: str) -> None:
    config = load_config(CONFS / name)
    counted = count_multiply_adds(config.net, 10, config.feats.n_mels, config.grid.n_hops)
    assert counted == _multiply_adds_by_hand(config)
