"""The two domains of the generated data set, and random draws that depend on the domain.

Every parameter of a sound has one range with two ends. Synthetic clips draw from the section of
the range next to its first end, recorded clips from the section next to its last end; the sections
do not overlap. `timbre_range`, reverberation, colouration and noise of the two domains set how
large the domain gap is that a detector has to bridge.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from desed_task.errors import InputError

CLIP_SECONDS = 10.0
T = TypeVar("T")
Range = tuple[float, float]


@dataclass(frozen=True)
class Domain:
    """All parameters by which clips of a domain differ from others; ranges are (low, high)."""

    name: str
    timbre_range: Range
    """Section of every timbre parameter's range, within 0..1 from the synthetic end."""
    event_to_background_db: Range
    """Level of a class's events in a clip relative to the background."""
    non_target_to_background_db: Range
    non_targets_per_clip: float
    """Mean number of sounds without a label in a clip."""
    reverberation_s: Range
    """Time in which reverberation decays by 60 dB; (0, 0) means no room."""
    direct_to_reverberant_db: Range
    colouration_db: float
    """Standard deviation of the microphone's gain per octave."""
    bandwidth_hz: Range
    """Upper cut-off frequency of the microphone."""
    peak_db: Range
    """Peak level of a clip relative to full scale."""
    short_share: float
    """Share of clips that last 2..10 s instead of 10 s."""
    stereo_share: float
    """Share of clips with two channels."""
    empty_share: float
    """Share of clips without events."""
    overrun_share: float
    """Share of the events that end with the clip whose annotated offset is past its end."""


SYNTHETIC = Domain(
    name="synthetic",
    timbre_range=(0.05, 0.45),
    event_to_background_db=(14.0, 30.0),
    non_target_to_background_db=(0.0, 12.0),
    non_targets_per_clip=0.3,
    reverberation_s=(0.0, 0.0),
    direct_to_reverberant_db=(0.0, 0.0),
    colouration_db=0.0,
    bandwidth_hz=(22050.0, 22050.0),
    peak_db=(-15.0, -1.0),
    short_share=0.0,
    stereo_share=0.0,
    empty_share=0.0,
    overrun_share=0.0,
)

RECORDED = Domain(
    name="recorded",
    timbre_range=(0.5, 0.9),
    event_to_background_db=(14.0, 30.0),
    non_target_to_background_db=(0.0, 15.0),
    non_targets_per_clip=0.4,
    reverberation_s=(0.1, 0.35),
    direct_to_reverberant_db=(8.0, 16.0),
    colouration_db=4.0,
    bandwidth_hz=(6000.0, 18000.0),
    peak_db=(-26.0, -0.5),
    short_share=0.12,
    stereo_share=0.3,
    empty_share=0.013,
    overrun_share=0.02,
)

DOMAINS = {domain.name: domain for domain in (SYNTHETIC, RECORDED)}


@dataclass(frozen=True)
class SceneShares:
    """Shares of clips that are no scene: `lone` has one recording alone, `empty` no event."""

    lone: float = 0.2
    empty: float = 0.25

    def __post_init__(self) -> None:
        for name, share in (("lone", self.lone), ("empty", self.empty)):
            if not 0 <= share <= 1:
                raise InputError(f"--{name}_share: expected 0 to 1, got {share:g}")
        if self.lone + self.empty > 1:
            raise InputError(
                "--lone_share, --empty_share: expected at most 1 together, "
                f"got {self.lone:g} and {self.empty:g}"
            )


SHARES = SceneShares()
SCENES_ALONE = SceneShares(0.0, 0.0)


class Draw:
    """Random draws for one domain; first value: the synthetic end, last value: the recorded end."""

    def __init__(self, rng: np.random.Generator, domain: Domain) -> None:
        self.rng = rng
        self.domain = domain

    def _position(self) -> float:
        return float(self.rng.uniform(*self.domain.timbre_range))

    def linear(self, synthetic_end: float, recorded_end: float) -> float:
        """Return a value between the two ends, uniform on a linear scale."""
        return synthetic_end + (recorded_end - synthetic_end) * self._position()

    def log(self, synthetic_end: float, recorded_end: float) -> float:
        """Return a value between the two ends (both positive), uniform on a logarithmic scale."""
        return float(synthetic_end * (recorded_end / synthetic_end) ** self._position())

    def pick(self, kinds: Sequence[T]) -> T:
        """Return one of the kinds, which are ordered from the synthetic to the recorded end."""
        return kinds[min(int(self._position() * len(kinds)), len(kinds) - 1)]

    def within(self, low: float, high: float) -> float:
        """Return a uniform value between two values, for all domains alike."""
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        """Return true with the given probability, for all domains alike."""
        return bool(self.rng.random() < probability)
