"""Arrays and tensors of any layout and number format: the events of the file, or an InputError."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from desed_task.detect import Detector, Settings
from desed_task.detect.__main__ import main
from desed_task.detect.arrays import checked_rate, float_samples
from desed_task.errors import InputError

STEREO = np.random.default_rng(0).integers(-9000, 9000, (500, 2)).astype(np.int16)
FLOATS = (STEREO / 32768).astype(np.float32)

SAME: dict[str, Callable[[NDArray[np.float32]], Any]] = {
    "channels first": lambda audio: audio.T,
    "float64": lambda audio: audio.astype(np.float64),
    "big endian": lambda audio: audio.astype(">f4"),
    "16 bit": lambda audio: (audio * 32768).astype(np.int16),
    "32 bit": lambda audio: (audio.astype(np.float64) * 2**31).astype(np.int32),
    "tensor": torch.from_numpy,
    "channels first in a tensor": lambda audio: torch.from_numpy(audio.T.copy()),
    "16 bit in a tensor": lambda audio: torch.from_numpy((audio * 32768).astype(np.int16)),
    "with gradient": lambda audio: torch.from_numpy(audio).requires_grad_(),
    "list": lambda audio: audio.tolist(),
    "not contiguous": lambda audio: np.repeat(audio, 2, axis=0)[::2],
    "reads only": lambda audio: np.frombuffer(audio.tobytes(), np.float32).reshape(audio.shape),
}


@pytest.mark.parametrize("kind", SAME)
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_of_any_layout(kind: str, channels: int) -> None:
    audio = FLOATS[:, :channels]
    np.testing.assert_array_equal(float_samples(SAME[kind](audio)), audio)
    np.testing.assert_array_equal(float_samples(SAME[kind](audio), channels), audio)


def test_bfloat16_and_one_axis() -> None:
    rounded = torch.from_numpy(FLOATS[:, 0]).bfloat16()
    np.testing.assert_array_equal(float_samples(rounded)[:, 0], rounded.float().numpy())
    np.testing.assert_array_equal(float_samples(FLOATS[:3, 0])[:, 0], FLOATS[:3, 0])


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (FLOATS[None], r"expected the shape .*\(channels, samples\).* got \(1, 500, 2\)"),
        (FLOATS[:40], r"at most 64 channels, got \(40, 2\)"),
        (np.zeros((300, 400)), r"at most 64 channels, got \(300, 400\)"),
        (np.float32(0.5), r"expected the shape .* got \(\)"),
        (FLOATS > 0, "expected an array of floats .*, int16 or int32, got bool"),
        (FLOATS.astype(np.int64), "got int64"),
        (FLOATS.astype(np.uint8), "got uint8"),
        (FLOATS + 0j, "got complex64"),
        (np.array([None, 1.0]), "got object"),
        (b"RIFF", "got .S4"),
        ([[0.1], [0.1, 0.2]], "audio: expected an array of floats"),
        (np.zeros(0), "expected at least 1 sample, got 0"),
        (np.zeros((0, 2)), "expected at least 1 sample, got 0"),
        (np.zeros((1, 0)), "expected at least 1 sample, got 0"),
        (np.full(500, np.nan), "samples: expected finite numbers, got NaN"),
        (np.full(500, 99.0), "got a peak of 99 .integers stored as floats"),
    ],
)
def test_other_arrays_are_refused(audio: Any, message: str, model: Path) -> None:
    with pytest.raises(InputError, match=message):
        Detector.load(model)(audio, 8000)


@pytest.mark.parametrize("rate", [0, -1, 0.5, 44.1, float("nan"), float("inf"), "x", True, [1]])
def test_other_rates_are_refused(rate: Any, model: Path) -> None:
    detector = Detector.load(model)
    for call in (lambda: detector(FLOATS, rate), lambda: detector.stream(rate)):
        with pytest.raises(InputError, match="rate: expected the sample rate in Hz, at least 1"):
            call()


def test_rates_of_any_number_type() -> None:
    for rate in (16000, 16000.0, np.int64(16000), np.float32(16000), torch.tensor(16000)):
        assert checked_rate(rate) == 16000


def test_blocks_of_a_stream(model: Path, recordings: Path) -> None:
    """Of channels last or first; other shapes are refused instead of reshaped."""
    detector = Detector.load(model, settings=Settings(threshold=0.3))
    audio, rate = soundfile.read(recordings / "long.flac", dtype="float32")

    def events(change: Callable[[NDArray[np.float32]], Any]) -> list[Any]:
        stream = detector.stream(rate, 2)
        found = [event for block in np.array_split(audio, 9) for event in stream(change(block))]
        return [*found, *stream.finish()]

    expected = events(lambda block: block)
    assert expected
    assert events(lambda block: block.T) == expected
    assert events(lambda block: torch.from_numpy(block.T.copy())) == expected
    for wrong in (audio[:, 0], audio.reshape(-1), audio[None], audio[:, :1], np.zeros((50, 3))):
        with pytest.raises(InputError, match=r"the shape \(samples, 2\) or \(2, samples\)"):
            detector.stream(rate, 2)(wrong)


def test_channels_that_cancel_in_every_source(
    model: Path, recordings: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    audio, rate = soundfile.read(recordings / "long.wav", dtype="float32")
    both = np.stack([audio, -audio], axis=1)
    soundfile.write(tmp_path / "opposite.wav", both, rate)
    detector = Detector.load(model, settings=Settings(threshold=0.3))
    expected = detector(recordings / "long.wav").detections
    assert expected
    assert detector(tmp_path / "opposite.wav").detections == expected
    assert detector(both.T, rate).detections == expected
    caplog.clear()
    given = [f"--model={model}", f"--output={tmp_path / 'out'}", "--plot", "--format=csv"]
    assert main([*given, str(tmp_path / "opposite.wav")]) == 0
    assert caplog.text.count("opposite.wav: the mean of the channels is silent") == 1
    second = Detector.load(model, settings=Settings(threshold=0.3, channel=2))
    np.testing.assert_array_equal(second(both, rate).values, detector(-audio, rate).values)
    with pytest.raises(InputError, match="--channel: expected mix, loudest or a number"):
        Detector.load(model, settings=Settings(channel=0))
