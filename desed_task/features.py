"""Audio -> log-mel features in the network's range (docs/recipe.md, "Features")."""

from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from desed_task.settings import NonEmpty, NonNegative, Pair, Positive, PositiveInt, Settings
from desed_task.transforms import MelSpectrogram

MINMAX_EPS = 1e-8


class FeatureSettings(Settings):
    """The log-mel spectrogram."""

    # Bounds: a model.json from elsewhere must not make its reader allocate without limit.
    n_mels: int = Field(
        ge=1,
        le=1024,
        description="bands; the pooling of backbone and SED branch must reduce them to exactly 1",
    )
    n_window: int = Field(
        ge=1, le=1 << 16, description="samples of the Hamming window, also the FFT size"
    )
    hop_length: PositiveInt = Field(description="samples between frames")
    f_min: NonNegative = Field(description="Hz, lower edge of the lowest band (HTK mel scale)")
    f_max: Positive = Field(description="Hz, upper edge of the highest band")
    log_floor: Positive = Field(description="smallest magnitude before the logarithm")
    log_range: Pair[float] = Field(description="dB, lowest and highest level; others are clamped")

    @model_validator(mode="after")
    def _check(self) -> "FeatureSettings":
        self._require(self.f_min < self.f_max, "f_min", f"less than f_max {self.f_max:g}", "f_max")
        self._require(self.log_range[0] < self.log_range[1], "log_range", "[lowest, highest]")
        return self

    def check_input(self, sample_rate: int, n_samples: int) -> None:
        """Raise a misfit unless these are features of whole clips of `n_samples`."""
        self._require(
            self.f_max <= sample_rate / 2,
            "f_max",
            f"at most half of the sample rate {sample_rate}",
            "sample_rate",
        )
        self._require(
            self.hop_length <= self.n_window,  # a longer hop would skip samples
            "hop_length",
            f"at most n_window {self.n_window}",
            "n_window",
        )
        self._require(
            self.n_window < 2 * n_samples,
            "n_window",
            f"less than {2 * n_samples}, twice the samples of the network's input",
            "n_samples",
            "sample_rate",
        )


class ScalerSettings(Settings):
    """Normalisation of the features."""

    statistic: Literal["instance", "dataset"] = Field(
        description="statistics of each clip (`instance`) or of the training set (`dataset`, "
        "stored in the checkpoint)"
    )
    normtype: Literal["minmax", "standard", "mean"] = Field(
        description="`minmax`: to [0, 1], with `instance` only; `standard`: to mean 0 and "
        "deviation 1; `mean`: to mean 0"
    )
    dims: NonEmpty[Literal[1, 2]] = Field(
        description="axes of the statistics: 1 (bands), 2 (frames) or both"
    )

    @model_validator(mode="after")
    def _check(self) -> "ScalerSettings":
        self._require(
            self.statistic == "instance" or self.normtype != "minmax",  # outliers set the extremes
            "normtype",
            "'standard' or 'mean' with statistic 'dataset'",
            "statistic",
        )
        self._require_distinct("dims")
        return self


_GROUP = 16  # mel bands of one matrix product


def _grouped(filters: Tensor) -> list[tuple[slice, Tensor]]:
    """Mel filters `(bins, bands)` in groups of bands: the bins of a group, their weights."""
    groups = []
    for group in filters.split(_GROUP, dim=1):
        used = group.any(dim=1).nonzero().flatten().tolist() or [0]
        bins = slice(used[0], used[-1] + 1)
        groups.append((bins, group[bins].clone()))
    return groups


class LogMel(nn.Module):
    """Magnitude mel spectrogram and its logarithm, always in float32.

    Args:
        settings: window, hop, bands and range; the window is not periodic.
        sample_rate: Hz.
    """

    def __init__(self, settings: FeatureSettings, sample_rate: int) -> None:
        super().__init__()
        self.log_floor = settings.log_floor
        self.log_range = settings.log_range
        self.transform = MelSpectrogram(
            sample_rate=sample_rate,
            n_fft=settings.n_window,
            win_length=settings.n_window,
            hop_length=settings.hop_length,
            n_mels=settings.n_mels,
            f_min=settings.f_min,
            f_max=settings.f_max,
            power=1,
            window_fn=torch.hamming_window,
            wkwargs={"periodic": False},
        )
        self._filters = _grouped(self.transform.mel_scale.fb)

    def mel(self, audio: Tensor) -> Tensor:
        """`(batch, samples)` in [-1, 1] -> magnitudes `(batch, bands, frames)`."""
        with torch.autocast(audio.device.type, enabled=False):
            if audio.device.type == "cpu" and not torch.compiler.is_exporting():
                return self._mel_of_clips(audio.float())
            return self.transform(audio.float())

    def _mel_of_clips(self, audio: Tensor) -> Tensor:
        """`mel` on a CPU.

        NumPy's magnitudes take a tenth of the time of PyTorch's where the processor has AVX-512,
        and a band is summed over the bins near it, not over all.
        """
        spectrogram = self.transform.spectrogram
        edge = spectrogram.n_fft // 2
        padded = torch.cat(
            [audio[:, 1 : edge + 1].flip(1), audio, audio[:, -edge - 1 : -1].flip(1)], dim=1
        )
        mels = []
        for clip in padded:  # whose spectrum the cache holds
            frames = clip.unfold(0, spectrogram.n_fft, spectrogram.hop_length) * spectrogram.window
            magnitude = torch.from_numpy(np.abs(torch.fft.rfft(frames).numpy()))
            bands = [magnitude[:, bins] @ weights for bins, weights in self._filters]
            mels.append(torch.cat(bands, dim=1).t())
        return torch.stack(mels)

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
        settings: statistics and their axes of `(batch, bands, frames)` (and always the clips, for
            those of a data set, which need one call of `fit`).
        n_mels, n_frames: size of the features, for the shape of the stored statistics.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, settings: ScalerSettings, n_mels: int, n_frames: int) -> None:
        super().__init__()
        self.statistic = settings.statistic
        self.normtype = settings.normtype
        self.dims = tuple(sorted(settings.dims))
        if self.statistic == "dataset":
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
