"""Counted multiply-adds against a formula."""

import pytest

from desed_task.nnet.arithmetic import count_multiply_adds
from local.config.load import Config, load_config
from tests.support.paths import CONFS

SHORT = "data.audio_max_len=1"


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
    config = load_config(CONFS / name, [SHORT])
    counted = count_multiply_adds(config.net, 10, config.feats.n_mels, config.grid.n_hops)
    assert counted == _multiply_adds_by_hand(config)


def test_embeddings_are_joined_by_a_layer_per_branch() -> None:
    settings = ["source=a.onnx", "sample_rate=16000", "frame_seconds=0.16", "dimension=768"]
    config = load_config(CONFS / "sed.yaml", [SHORT, *(f"encoder.{each}" for each in settings)])
    counts = [
        count_multiply_adds(config.net, 10, 128, config.grid.n_hops, encoder)
        for encoder in (None, config.encoder)
    ]
    assert counts[1] - counts[0] == 2 * config.grid.n_frames * (256 + 768) * 256


def test_frequency_dynamic_convolutions_are_counted_as_the_device_computes_them() -> None:
    """A GPU: one convolution per basis kernel. A CPU: one, of kernels that are summed before."""
    config, plain = (load_config(CONFS / f"{name}.yaml", [SHORT]) for name in ("sed_fdy", "sed"))
    net = config.net
    on_gpu, on_cpu = (
        count_multiply_adds(net, 10, config.feats.n_mels, config.grid.n_hops, device=device)
        for device in ("cuda", "cpu")
    )
    convolved = summed = 0
    channels = [1, *net.nb_filters, *net.sed_filters]
    pools = [*net.pooling, *net.sed_pooling]
    bands, frames = config.feats.n_mels, config.grid.n_hops
    for number, kind in enumerate(net.convolution):
        before, after = channels[number : number + 2]
        if kind == "frequency_dynamic":
            convolved += bands * frames * 9 * before * after
            summed += bands * net.basis_kernels * 9 * before * after
        frames, bands = frames // pools[number][0], bands // pools[number][1]
    assert on_gpu - on_cpu == (net.basis_kernels - 1) * convolved - summed
    by_hand = _multiply_adds_by_hand(plain) + (net.basis_kernels - 1) * convolved
    assert by_hand < on_gpu < 1.01 * by_hand  # and the attention over bands
