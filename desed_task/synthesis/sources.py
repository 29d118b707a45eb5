"""Sources of sounds for scenes: what scenes ask of them, and the synthetic source.

`CLASS_STATISTICS` are those of DESED's real validation set, measured on its annotations. The other
source is `recorded.RecordedSounds`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from desed_task.synthesis import backgrounds
from desed_task.synthesis.domains import CLIP_SECONDS, Draw
from desed_task.synthesis.signals import Signal, trimmed
from desed_task.synthesis.timbres import CLASSES, TIMBRES

MIN_EVENT_S = 0.2
RARE_CLASS_EXPONENT = 0.4
"""Classes are drawn with their clip counts to this power: 1 as in DESED, 0 uniformly."""


@dataclass(frozen=True)
class ClassStatistics:
    """Occurrence of one class in DESED's real validation set."""

    clips: int
    """Number of clips with the class."""
    events_per_clip: float
    """Mean over the clips with the class."""
    durations_s: tuple[float, float, float]
    """10 %, 50 % and 90 % quantiles of the events' lengths."""


CLASS_STATISTICS = {
    "Alarm_bell_ringing": ClassStatistics(187, 2.2, (0.32, 1.03, 4.88)),
    "Blender": ClassStatistics(80, 1.2, (1.22, 4.64, 10.0)),
    "Cat": ClassStatistics(121, 2.8, (0.33, 0.85, 2.74)),
    "Dishes": ClassStatistics(171, 3.3, (0.25, 0.39, 1.08)),
    "Dog": ClassStatistics(160, 3.6, (0.26, 0.77, 2.97)),
    "Electric_shaver_toothbrush": ClassStatistics(62, 1.0, (3.09, 9.9, 10.0)),
    "Frying": ClassStatistics(89, 1.1, (3.73, 10.0, 10.0)),
    "Running_water": ClassStatistics(197, 1.2, (0.98, 4.85, 10.0)),
    "Speech": ClassStatistics(627, 2.8, (0.44, 1.15, 3.02)),
    "Vacuum_cleaner": ClassStatistics(91, 1.0, (4.22, 10.0, 10.0)),
}


class SoundSource(Protocol):
    """Where the sounds of a scene come from; all signals are (samples,) at `SAMPLE_RATE`."""

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes."""

    def weight(self, label: str) -> float:
        """How often a class is drawn, relative to the others."""

    def events_per_clip(self, label: str) -> float:
        """Mean number of events in the clips with the class, at least 1."""

    def draw_length(self, rng: np.random.Generator, label: str, longest: float) -> float:
        """Length of one event in seconds, at most `longest`."""

    def event(self, draw: Draw, label: str, samples: int) -> Signal:
        """One event, audible from its first to its last sample, about `samples` long."""

    def background(self, draw: Draw, samples: int) -> Signal:
        """A background noise of exactly this length, at any level."""

    def non_target(self, draw: Draw, samples: int) -> Signal:
        """A sound without a label, at most this long, at any level."""


class SyntheticSounds:
    """The ten classes of DESED from `timbres`, and the noises of `backgrounds`."""

    classes = CLASSES

    def weight(self, label: str) -> float:
        """See `SoundSource`."""
        return float(CLASS_STATISTICS[label].clips ** RARE_CLASS_EXPONENT)

    def events_per_clip(self, label: str) -> float:
        """See `SoundSource`."""
        return CLASS_STATISTICS[label].events_per_clip

    def draw_length(self, rng: np.random.Generator, label: str, longest: float) -> float:
        """Return an event's length in seconds, at most `longest`.

        The logarithm of the length is interpolated linearly between the quantiles of its class.
        """
        low, middle, high = CLASS_STATISTICS[label].durations_s
        knots = (max(MIN_EVENT_S, 0.8 * low), low, middle, high, min(CLIP_SECONDS, 1.4 * high))
        length = np.exp(np.interp(rng.random(), (0.0, 0.1, 0.5, 0.9, 1.0), np.log(knots)))
        return float(min(length, longest))

    def event(self, draw: Draw, label: str, samples: int) -> Signal:
        """See `SoundSource`."""
        return trimmed(TIMBRES[label](draw, samples))

    def background(self, draw: Draw, samples: int) -> Signal:
        """See `SoundSource`."""
        return backgrounds.background(draw, samples)

    def non_target(self, draw: Draw, samples: int) -> Signal:
        """See `SoundSource`."""
        return backgrounds.non_target(draw, samples)


SYNTHETIC_SOUNDS = SyntheticSounds()
