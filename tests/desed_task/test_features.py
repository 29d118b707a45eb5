"""Features and scaler against golden numbers and plain arithmetic."""

import numpy as np
import pytest
import torch

from desed_task.features import LogMel, Scaler, ScalerSettings
from local.config.load import Config
from tests.support.paths import GOLDEN


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "features.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def log_mel(recipe: Config) -> LogMel:
    return LogMel(recipe.feats, recipe.data.fs)


def test_golden(golden: dict[str, np.ndarray], recipe: Config, log_mel: LogMel) -> None:
    audio = torch.from_numpy(golden["waveform_16bit"] / np.float32(32768))
    mel = log_mel.mel(audio)
    decibel = log_mel(audio)
    scaled = Scaler(recipe.scaler, recipe.feats.n_mels, recipe.grid.n_hops)(decibel)
    assert mel.shape == (2, 128, 626)

    def part(features: torch.Tensor) -> np.ndarray:
        return features.numpy()[:, golden["bands"]][:, :, golden["frames"]]

    np.testing.assert_allclose(part(mel), golden["mel"], rtol=0, atol=1e-5 * golden["mel"].max())
    np.testing.assert_allclose(part(decibel), golden["log_mel"], rtol=0, atol=2e-4)
    np.testing.assert_allclose(part(scaled), golden["scaled"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("sizes", [(2048, 256, 128), (101, 50, 40)], ids=["recipe", "odd window"])
def test_mel_equals_torchaudios(sizes: tuple[int, int, int], recipe: Config) -> None:
    """Also with an odd window, and with bands between the bins, which have no weight."""
    window, hop, n_mels = sizes
    changed = {"n_window": window, "hop_length": hop, "n_mels": n_mels}
    log_mel = LogMel(recipe.feats.model_copy(update=changed), recipe.data.fs)
    audio = torch.randn(2, 16001, generator=torch.Generator().manual_seed(0))
    expected = log_mel.transform(audio)
    torch.testing.assert_close(log_mel.mel(audio), expected, rtol=1e-5, atol=1e-5)


def test_log_range(log_mel: LogMel) -> None:
    magnitudes = torch.tensor([0.0, 1e-9, 10**-2.6, 1.0, 10.0, 1e6])
    assert log_mel.log(magnitudes).tolist() == pytest.approx([-50, -50, -50, 0, 20, 80])


def test_mel_gain_acts_before_the_logarithm(log_mel: LogMel) -> None:
    audio = torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    gain = torch.ones(1, 128)
    gain[0, 10:] = 10.0
    gain[0, 100] = 0.0
    difference = log_mel(audio, gain) - log_mel(audio)
    torch.testing.assert_close(difference[:, :10], torch.zeros_like(difference[:, :10]))
    torch.testing.assert_close(
        difference[:, 10:100], torch.full_like(difference[:, 10:100], 20.0), atol=1e-3, rtol=0
    )
    assert (log_mel(audio, gain)[:, 100] == -50).all()


def test_features_stay_float32_under_autocast(log_mel: LogMel) -> None:
    audio = torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = log_mel(audio)
    assert under.dtype == torch.float32
    torch.testing.assert_close(under, log_mel(audio), rtol=0, atol=0)


def _scaler(**settings: object) -> Scaler:
    return Scaler(ScalerSettings.model_validate(settings), 6, 20)


FEATURES = 5 + 3 * torch.randn(4, 6, 20, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("dims", [[1], [2], [1, 2]])
def test_instance_statistics(dims: list[int]) -> None:
    def scaled(normtype: str) -> np.ndarray:
        return _scaler(statistic="instance", normtype=normtype, dims=dims)(FEATURES).numpy()

    values, axes = FEATURES.numpy(), tuple(dims)
    mean = values.mean(axis=axes, keepdims=True)
    deviation = values.std(axis=axes, ddof=1, keepdims=True)
    low, high = values.min(axis=axes, keepdims=True), values.max(axis=axes, keepdims=True)
    np.testing.assert_allclose(scaled("mean"), values - mean, atol=1e-5)
    np.testing.assert_allclose(scaled("standard"), (values - mean) / deviation, atol=1e-5)
    np.testing.assert_allclose(scaled("minmax"), (values - low) / (high - low), atol=1e-5)


@pytest.mark.parametrize("dims", [[1], [2], [1, 2]])
def test_dataset_statistics(dims: list[int]) -> None:
    axes = (0, *dims)
    values = FEATURES.numpy()
    mean, deviation = values.mean(axis=axes, keepdims=True), values.std(axis=axes, keepdims=True)
    scaler = _scaler(statistic="dataset", normtype="standard", dims=dims)
    scaler.fit(iter([FEATURES[:1], FEATURES[1:]]))
    np.testing.assert_allclose(scaler(FEATURES), (values - mean) / deviation, atol=1e-5)
    restored = _scaler(statistic="dataset", normtype="mean", dims=dims)
    restored.load_state_dict(scaler.state_dict())
    np.testing.assert_allclose(restored(FEATURES), values - mean, atol=1e-5)


def test_statistics_need_features() -> None:
    with pytest.raises(ValueError, match="batches: expected at least 1, got 0"):
        _scaler(statistic="dataset", normtype="mean", dims=[1, 2]).fit([])
