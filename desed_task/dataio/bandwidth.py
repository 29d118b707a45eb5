"""Bandwidth of recordings: where the spectrum breaks off.

Recordings that were made at a lower rate, or compressed, have no frequencies above a cutoff: the
spectrum falls there by `CLIFF_DB` within `CLIFF_HZ`, and does not rise again.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

CLIFF_DB = 35.0
"""Fall of the spectrum within `CLIFF_HZ` that only a low-pass filter causes."""
CLIFF_HZ = 1000.0
RESOLUTION_HZ = 250.0
MIN_CLIFF_HZ = 3000.0
"""Below it natural sounds fall as steeply; telephones reach higher."""
_MAX_BLOCKS = 12
"""The beginning of a recording, a minute in blocks of 5 s, has its bandwidth."""


def spectrum_size(rate: int) -> int:
    """Samples of a spectrum with bins of at most `RESOLUTION_HZ`."""
    return int(2 ** np.ceil(np.log2(rate / RESOLUTION_HZ)))


def spectrum_end(power: NDArray[np.floating], rate: int) -> float:
    """Frequency in Hz at which a power spectrum `(bins,)` from 0 to `rate` / 2 breaks off.

    `rate` / 2 where it does not.
    """
    frequencies = np.linspace(0, rate / 2, len(power))
    decibels = 10 * np.log10(power + 1e-15)
    step = max(1, round(CLIFF_HZ / frequencies[1])) if len(power) > 1 else 1
    if len(decibels) < 3 * step:
        return rate / 2
    # highest level from each frequency on, against the median level of the band before
    after = np.maximum.accumulate(decibels[::-1])[::-1]
    before = np.array(
        [np.median(decibels[i - step : i]) for i in range(step, len(decibels) - step)]
    )
    edges = frequencies[step : len(decibels) - step]
    cliff = edges[(before - after[2 * step :] > CLIFF_DB) & (edges > MIN_CLIFF_HZ)]
    return float(cliff[0]) if len(cliff) else rate / 2


class Bandwidth:
    """The bandwidth of a recording that is read in blocks.

    Args:
        rate: Hz, of the blocks.

    Attributes:
        limit_hz: half the rate at which the recording was made, or infinite.
    """

    def __init__(self, rate: int) -> None:
        self.limit_hz = np.inf
        self._rate = rate
        self._window = np.hanning(spectrum_size(rate)).astype(np.float32)
        self._power = np.zeros(len(self._window) // 2 + 1)
        self._n_blocks = self._n_frames = 0

    def measured(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """The blocks `(samples,)`, unchanged."""
        for block in blocks:
            n_frames = len(block) // len(self._window)
            if n_frames and self._n_blocks < _MAX_BLOCKS:
                frames = block[: n_frames * len(self._window)].reshape(n_frames, -1)
                spectra = np.fft.rfft(frames * self._window)
                self._power += np.square(np.abs(spectra)).sum(axis=0)
                self._n_blocks, self._n_frames = self._n_blocks + 1, self._n_frames + n_frames
            yield block

    @property
    def hz(self) -> float:
        """Of the blocks so far; infinite where they are too short."""
        if not self._n_frames:
            return self.limit_hz
        scale = self._n_frames * float(np.square(self._window).sum()) * self._rate
        end = spectrum_end(self._power / scale, self._rate)
        return min(self.limit_hz, end if end < self._rate / 2 else np.inf)
