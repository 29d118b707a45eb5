"""Composition of clips: classes, number, lengths, times and levels of their events.

`CLASS_STATISTICS` are those of DESED's real validation set, measured on its annotations.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from desed_task.labels import Event
from desed_task.synthesis.backgrounds import background, non_target
from desed_task.synthesis.domains import Domain, Draw
from desed_task.synthesis.rooms import record
from desed_task.synthesis.signals import (
    SAMPLE_RATE,
    Signal,
    add_at,
    level,
    seconds_to_samples,
    trimmed,
    unit_power,
)
from desed_task.synthesis.timbres import CLASSES, TIMBRES

CLIP_SECONDS = 10.0
SHORTEST_CLIP_S = 2.0
SHORTEST_EVENT_S = 0.2
SMALLEST_GAP_S = 0.25
"""Shortest pause between two events of the same class."""
MOST_EVENTS = 8
"""Largest number of events of one class in a clip."""
LARGEST_OVERRUN_S = 0.115
"""Largest distance of an annotated offset past the clip's end."""
CLASSES_PER_CLIP = (0.4, 0.45, 0.13, 0.02)
"""Probabilities of 1, 2, 3 and 4 classes; DESED: 0.52, 0.42, 0.06, 0.00."""
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


@dataclass(frozen=True)
class Scene:
    """A clip's planned events, and its duration in seconds."""

    duration: float
    events: tuple[Event, ...]


@dataclass(frozen=True)
class RenderedClip:
    """A rendered scene: audio (samples, channels) in -1..1 and its audible events."""

    audio: NDArray[np.float32]
    events: tuple[Event, ...]

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.audio) / SAMPLE_RATE


def draw_length(rng: np.random.Generator, label: str, longest: float) -> float:
    """Return an event's length in seconds, at most `longest`.

    The logarithm of the length is interpolated linearly between the quantiles of its class.
    """
    low, middle, high = CLASS_STATISTICS[label].durations_s
    knots = (max(SHORTEST_EVENT_S, 0.8 * low), low, middle, high, min(CLIP_SECONDS, 1.4 * high))
    length = np.exp(np.interp(rng.random(), (0.0, 0.1, 0.5, 0.9, 1.0), np.log(knots)))
    return float(min(length, longest))


def draw_classes(rng: np.random.Generator) -> list[str]:
    """Return the classes of one clip, without repetition."""
    weights = np.array([CLASS_STATISTICS[label].clips for label in CLASSES], dtype=float)
    weights **= RARE_CLASS_EXPONENT
    count = 1 + int(rng.choice(len(CLASSES_PER_CLIP), p=CLASSES_PER_CLIP))
    return [str(label) for label in rng.choice(CLASSES, count, False, weights / weights.sum())]


def place_class(rng: np.random.Generator, label: str, duration: float) -> list[Event]:
    """Return the events of one class in a clip, in time order and without overlap."""
    mean = CLASS_STATISTICS[label].events_per_clip
    count = min(MOST_EVENTS, int(rng.geometric(1.0 / mean)))
    lengths: list[float] = []
    for _ in range(count):
        remaining = duration - sum(lengths) - SMALLEST_GAP_S * len(lengths)
        if lengths and remaining < 2 * SHORTEST_EVENT_S:
            break
        lengths.append(draw_length(rng, label, remaining))
    spare = duration - sum(lengths) - SMALLEST_GAP_S * (len(lengths) - 1)
    gaps = np.sort(rng.uniform(0.0, max(0.0, spare), len(lengths)))
    starts = gaps + np.concatenate([[0.0], np.cumsum(lengths)[:-1]])
    starts += SMALLEST_GAP_S * np.arange(len(lengths))
    return [
        Event(float(start), float(start + length), label)
        for start, length in zip(starts, lengths, strict=True)
    ]


def plan_scene(rng: np.random.Generator, domain: Domain) -> Scene:
    """Return a random duration and events."""
    short = rng.random() < domain.short_share
    duration = round(rng.uniform(SHORTEST_CLIP_S, CLIP_SECONDS), 2) if short else CLIP_SECONDS
    if rng.random() < domain.empty_share:
        return Scene(duration, ())
    classes = draw_classes(rng)
    events = [event for label in classes for event in place_class(rng, label, duration)]
    return Scene(duration, tuple(sorted(events, key=lambda event: event.onset)))


def _at_level(signal: Signal, target: float) -> Signal:
    return signal * np.float32(target / max(level(signal), 1e-6))


def add_events(draw: Draw, scene: Scene, mixture: Signal, floor: float) -> tuple[Event, ...]:
    """Add the scene's events to the mixture; return the events with their audible extents.

    All events of a class in a clip have about the same level above the background's `floor`.
    """
    levels = {
        label: floor * 10 ** (draw.within(*draw.domain.event_to_background_db) / 20)
        for label in dict.fromkeys(event.event_label for event in scene.events)
    }
    audible = []
    for event in scene.events:
        samples = seconds_to_samples(event.offset - event.onset)
        sound = trimmed(TIMBRES[event.event_label](draw, samples))
        start = min(seconds_to_samples(event.onset), max(0, len(mixture) - len(sound)))
        event_level = levels[event.event_label] * 10 ** (draw.within(-2.0, 2.0) / 20)
        add_at(mixture, _at_level(sound, event_level), start)
        stop = min(start + len(sound), len(mixture))
        audible.append(Event(start / SAMPLE_RATE, stop / SAMPLE_RATE, event.event_label))
    return tuple(audible)


def add_non_targets(draw: Draw, mixture: Signal, floor: float) -> None:
    """Add sounds without a label to the mixture."""
    for _ in range(draw.rng.poisson(draw.domain.non_targets_per_clip)):
        seconds = min(draw.within(0.5, 4.0), len(mixture) / SAMPLE_RATE)
        sound = non_target(draw, seconds_to_samples(seconds))
        start = int(draw.rng.integers(0, max(1, len(mixture) - len(sound))))
        sound_level = floor * 10 ** (draw.within(*draw.domain.non_target_to_background_db) / 20)
        add_at(mixture, _at_level(sound, sound_level), start)


def _with_overrun(draw: Draw, event: Event, duration: float) -> Event:
    """Return the event, sometimes with an offset past the clip's end, as DESED has."""
    reaches_end = duration - event.offset < 0.01
    if not (reaches_end and draw.chance(draw.domain.overrun_share)):
        return event
    return event._replace(offset=event.offset + draw.within(0.001, LARGEST_OVERRUN_S))


def render_clip(rng: np.random.Generator, domain: Domain) -> RenderedClip:
    """Return one random clip of the domain."""
    draw = Draw(rng, domain)
    scene = plan_scene(rng, domain)
    samples = seconds_to_samples(scene.duration)
    ambience = unit_power(background(draw, samples))
    floor = level(ambience)
    mixture = np.zeros(samples, dtype=np.float32)
    events = add_events(draw, scene, mixture, floor)
    add_non_targets(draw, mixture, floor)
    audio = record(rng, domain, mixture, ambience)
    return RenderedClip(
        audio, tuple(_with_overrun(draw, event, scene.duration) for event in events)
    )
