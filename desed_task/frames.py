"""Seconds <-> samples <-> frames: the one place where rates, hops and pooling meet.

Source: docs/recipe.md, "Features" and "Labels".
"""

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class FrameGrid:
    """The time axis of a clip and of the network's output.

    Args:
        sample_rate: samples per second of the audio the network sees.
        hop_length: samples between two spectrogram frames.
        time_pooling: spectrogram frames per network frame (product of the time pooling).
        clip_seconds: length in seconds. The network's grid: that of its input, to which shorter
            clips are padded; the grid of a longer clip: that of the clip (see `covering`).
    """

    sample_rate: int = 16000
    hop_length: int = 256
    time_pooling: int = 4
    clip_seconds: float = 10.0

    @property
    def n_samples(self) -> int:
        """Samples of a padded clip (160 000 for 10 s at 16 kHz)."""
        return round(self.clip_seconds * self.sample_rate)

    @property
    def n_hops(self) -> int:
        """Spectrogram frames of a padded clip, centred analysis (626)."""
        return 1 + self.n_samples // self.hop_length

    @property
    def n_frames(self) -> int:
        """Network frames of a padded clip (156)."""
        return self.n_hops // self.time_pooling

    @property
    def samples_per_frame(self) -> int:
        """Samples per network frame (1024)."""
        return self.hop_length * self.time_pooling

    @property
    def frame_seconds(self) -> float:
        """Seconds per network frame (0.064)."""
        return self.samples_per_frame / self.sample_rate

    def covering(self, seconds: float) -> "FrameGrid":
        """The time axis of a whole clip of this length: this one, unless the clip is longer."""
        longer = round(seconds * self.sample_rate) > self.n_samples
        return replace(self, clip_seconds=seconds) if longer else self

    def onset_to_frame(self, seconds: float) -> int:
        """First frame an event fills, clipped to [0, n_frames]."""
        # This order of operations is part of the recipe: dividing by 0.064 gives another frame
        # for some times.
        return self._clip(math.floor(seconds * self.sample_rate / self.samples_per_frame))

    def offset_to_frame(self, seconds: float) -> int:
        """First frame an event no longer fills, clipped to [0, n_frames]."""
        return self._clip(math.ceil(seconds * self.sample_rate / self.samples_per_frame))

    def _clip(self, frame: int) -> int:
        return min(max(frame, 0), self.n_frames)
