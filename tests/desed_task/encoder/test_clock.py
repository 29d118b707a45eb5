"""`python -m desed_task.encoder` on encoders whose clock is known."""

import pytest
import torch
import yaml
from torch import Tensor, nn

from desed_task.encoder.__main__ import main
from desed_task.encoder.clock import measure_clock
from desed_task.encoder.settings import EncoderSettings, Tokens
from desed_task.errors import InputError
from tests.support.tiny_encoder import CONVOLUTION, PLAIN_FUNCTION

HERE = "tests.desed_task.encoder.test_clock"


class _Patches(nn.Module):
    """Patches of 160 ms, with a token for each of 4 bands, without overlap."""

    def __init__(self, *, by_band: bool, samples_before: int = 0) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        self.weights = nn.Parameter(torch.randn(16, 1, 1280, generator=random))
        self.by_band, self.samples_before = by_band, samples_before

    def forward(self, audio: Tensor) -> Tensor:
        audio = nn.functional.pad(audio, (self.samples_before, 0))
        patches = nn.functional.conv1d(audio[:, None], self.weights, stride=1280)
        axes = (0, 1, 3, 2) if self.by_band else (0, 3, 1, 2)
        return patches.unflatten(1, (4, 4)).permute(*axes).flatten(1, 2)


def by_time() -> nn.Module:
    """A source."""
    return _Patches(by_band=False)


def by_band() -> nn.Module:
    """A source."""
    return _Patches(by_band=True)


@pytest.mark.parametrize("before", [0, 320])
def test_patches(before: int) -> None:
    encoder = _Patches(by_band=False, samples_before=before)
    tokens = Tokens(bands=4, order="time")
    clock = measure_clock(encoder, 8000, 10, tokens)
    assert clock[:2] == (62, 4)
    assert clock.step == pytest.approx(0.16, rel=0.005)
    assert clock.first == pytest.approx(0.08 - before / 8000, abs=0.015)
    assert clock.error < 0.08


@pytest.mark.parametrize("order", ["time", "band"])
def test_the_printed_section(order: str, capsys: pytest.CaptureFixture[str]) -> None:
    source = f"{HERE}:by_{order}"
    assert main(["--source", source, "--sample_rate=8000", "--bands=4", f"--order={order}"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("# 10 s: 62 steps; the clicks lie within ")
    settings = EncoderSettings(**yaml.safe_load(printed)["encoder"])
    assert settings.source == source
    assert settings.tokens is not None
    assert (settings.tokens.bands, settings.tokens.order) == (4, order)
    assert settings.frame_seconds == pytest.approx(0.16, rel=0.005)
    assert settings.first_seconds == pytest.approx(0.08, abs=0.015)
    assert (settings.sample_rate, settings.dimension) == (8000, 4)


def test_a_convolution(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--source", PLAIN_FUNCTION, "--sample_rate=16000", "--clip_seconds=3"])
    section = yaml.safe_load(capsys.readouterr().out)["encoder"]
    assert section["frame_seconds"] == pytest.approx(0.02, rel=0.005)
    assert section["first_frame"] == pytest.approx(0.01, abs=0.005)
    assert section["dimension"] == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([f"--source={HERE}:by_time", "--sample_rate=8000"], "the order of time; in the 248 steps"),
        ([f"--source={HERE}:by_band", "--sample_rate=8000"], "the order of time; in the 248 steps"),
        ([f"--source={CONVOLUTION}"], "--sample_rate: expected the rate of its input in Hz, got n"),
        ([f"--source={CONVOLUTION}", "--sample_rate=0"], "--sample_rate: expected at least 1"),
        (
            [f"--source={CONVOLUTION}", "--sample_rate=8000", "--clip_seconds=0.1", "--bands=7"],
            "expected a number of tokens that 7 divides",
        ),
        (["--source=nowhere:at_all", "--sample_rate=1"], "No module named 'nowhere'"),
    ],
)
def test_misfits(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as found:
        main(arguments)
    assert "\n" not in str(found.value)
