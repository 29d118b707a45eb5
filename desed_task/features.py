"""Audio -> log-mel features in the network's range (docs/recipe.md, "Features")."""

from collections.abc import Callable, Iterable
from typing import Literal

import torch
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

MINMAX_EPS = 1e-8

Statistic = Literal["instance", "dataset"]
NormType = Literal["minmax", "standard", "mean"]


class LogMel(nn.Module):
    """Magnitude mel spectrogram and its logarithm, always in float32.

    Args:
        sample_rate: Hz.
        n_window: samples of the Hamming window (not periodic), also the FFT size.
        hop_length: samples.
        n_mels, f_min, f_max: bands of the HTK mel scale between two frequencies in Hz.
        log_floor: smallest magnitude before the logarithm.
        log_range: lowest and highest level in dB, others are clamped.
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        n_window: int,
        hop_length: int,
        n_mels: int,
        f_min: float,
        f_max: float,
        log_floor: float,
        log_range: tuple[float, float],
    ) -> None:
        super().__init__()
        self.log_floor = log_floor
        self.log_range = log_range
        self.transform = MelSpectrogram(
            sample_rate=sample_rate,
            n_fft=n_window,
            win_length=n_window,
            hop_length=hop_length,
            n_mels=n_mels,
            f_min=f_min,
            f_max=f_max,
            power=1,
            window_fn=torch.hamming_window,
            wkwargs={"periodic": False},
        )

    def mel(self, audio: Tensor) -> Tensor:
        """`(batch, samples)` in [-1, 1] -> magnitudes `(batch, bands, frames)`."""
        with torch.autocast(audio.device.type, enabled=False):
            return self.transform(audio.float())

    def log(self, mel: Tensor) -> Tensor:
        """Magnitudes -> dB, clamped to `log_range`; any shape."""
        decibel = 20 * mel.clamp(min=self.log_floor).log10()
        return decibel.clamp(*self.log_range)

    def forward(self, audio: Tensor, mel_gain: Tensor | None = None) -> Tensor:
        """`(batch, samples)` -> log-mel in dB `(batch, bands, frames)`.

        `mel_gain` `(batch, bands)` multiplies the magnitudes (masks and filters of the mel axis).
        """
        mel = self.mel(audio)
        return self.log(mel if mel_gain is None else mel * mel_gain.unsqueeze(-1))


class Scaler(nn.Module):
    """Normalisation of features per clip (`instance`) or by those of a training set (`dataset`).

    Args:
        statistic: the origin of the statistics; `dataset` needs one call of `fit`.
        normtype: `minmax` to [0, 1] (instance only), `standard` to mean 0 and deviation 1,
            `mean` to mean 0.
        dims: axes of `(batch, bands, frames)` that are averaged over: 1, 2 or both (and always the
            clips, for the statistics of a data set).
        n_mels, n_frames: size of the features, for the shape of the stored statistics.

    Raises ValueError for `dataset` with `minmax`, because outliers set the extremes of a data set.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        statistic: Statistic,
        normtype: NormType,
        dims: Iterable[int],
        n_mels: int,
        n_frames: int,
    ) -> None:
        super().__init__()
        if statistic == "dataset" and normtype == "minmax":
            raise ValueError("normtype: expected 'standard' or 'mean' with statistic 'dataset'")
        self.statistic = statistic
        self.normtype = normtype
        self.dims = tuple(sorted(dims))
        if statistic == "dataset":
            shape = (1, 1 if 1 in self.dims else n_mels, 1 if 2 in self.dims else n_frames)
            self.register_buffer("mean", torch.zeros(shape))
            self.register_buffer("deviation", torch.ones(shape))

    @torch.no_grad()
    def fit(
        self, batches: Iterable[Tensor], sum_over_ranks: Callable[[Tensor], Tensor] = torch.clone
    ) -> None:
        """Set the `dataset` statistics from batches of log-mel `(batch, bands, frames)`.

        `sum_over_ranks` sums a tensor over the processes, each of which has some of the clips.
        """
        dims = (0, *self.dims)
        total = torch.zeros_like(self.mean, dtype=torch.float64)
        squares = torch.zeros_like(total)
        count = torch.zeros((), dtype=torch.float64)
        for features in batches:
            features = features.double()
            total += features.sum(dims, keepdim=True)
            squares += features.square().sum(dims, keepdim=True)
            count += features.numel() // total.numel()
        total, squares, count = map(sum_over_ranks, (total, squares, count))
        if count == 0:
            raise ValueError("batches: expected at least 1, got 0")
        mean = total / count
        self.mean.copy_(mean)
        self.deviation.copy_((squares / count - mean.square()).clamp(min=0).sqrt())

    def forward(self, features: Tensor) -> Tensor:
        """`(batch, bands, frames)` in dB -> the same shape, normalised."""
        if self.statistic == "dataset":
            mean, deviation = self.mean, self.deviation
        elif self.normtype == "minmax":
            low = features.amin(self.dims, keepdim=True)
            high = features.amax(self.dims, keepdim=True)
            return (features - low) / (high - low + MINMAX_EPS)
        else:
            mean = features.mean(self.dims, keepdim=True)
            deviation = features.std(self.dims, keepdim=True)
        centred = features - mean
        return centred if self.normtype == "mean" else centred / (deviation + MINMAX_EPS)
