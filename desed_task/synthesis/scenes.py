"""Composition of clips: classes, number, lengths, times and levels of their events.

The sounds come from a `SoundSource`, synthetic ones unless another source is given.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from desed_task.labels import Event
from desed_task.synthesis.domains import CLIP_SECONDS, Domain, Draw
from desed_task.synthesis.rooms import record
from desed_task.synthesis.signals import (
    SAMPLE_RATE,
    Signal,
    add_at,
    level,
    seconds_to_samples,
    unit_power,
)
from desed_task.synthesis.sources import (
    MIN_EVENT_S,
    SYNTHETIC_SOUNDS,
    SoundSource,
)

MIN_CLIP_S = 2.0
MIN_GAP_S = 0.25
"""Shortest pause between two events of the same class."""
MAX_EVENTS = 8
"""Largest number of events of one class in a clip."""
MAX_OVERRUN_S = 0.115
"""Largest distance of an annotated offset past the clip's end."""
CLASSES_PER_CLIP = (0.4, 0.45, 0.13, 0.02)
"""Probabilities of 1, 2, 3 and 4 classes; DESED: 0.52, 0.42, 0.06, 0.00."""


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


def draw_classes(rng: np.random.Generator, sounds: SoundSource = SYNTHETIC_SOUNDS) -> list[str]:
    """Return the classes of one clip, without repetition."""
    classes = sounds.classes
    weights = np.array([sounds.weight(label) for label in classes])
    count = 1 + int(rng.choice(len(CLASSES_PER_CLIP), p=CLASSES_PER_CLIP))
    count = min(count, len(classes))
    chosen = rng.choice(len(classes), count, False, weights / weights.sum())
    return [classes[index] for index in chosen]


def place_class(
    rng: np.random.Generator,
    label: str,
    duration: float,
    sounds: SoundSource = SYNTHETIC_SOUNDS,
) -> list[Event]:
    """Return the events of one class in a clip, in time order and without overlap."""
    count = min(MAX_EVENTS, int(rng.geometric(1.0 / sounds.events_per_clip(label))))
    lengths: list[float] = []
    for _ in range(count):
        remaining = duration - sum(lengths) - MIN_GAP_S * len(lengths)
        if lengths and remaining < 2 * MIN_EVENT_S:
            break
        lengths.append(sounds.draw_length(rng, label, remaining))
    spare = duration - sum(lengths) - MIN_GAP_S * (len(lengths) - 1)
    gaps = np.sort(rng.uniform(0.0, max(0.0, spare), len(lengths)))
    starts = gaps + np.concatenate([[0.0], np.cumsum(lengths)[:-1]])
    starts += MIN_GAP_S * np.arange(len(lengths))
    return [
        Event(float(start), float(start + length), label)
        for start, length in zip(starts, lengths, strict=True)
    ]


def plan_scene(
    rng: np.random.Generator, domain: Domain, sounds: SoundSource = SYNTHETIC_SOUNDS
) -> Scene:
    """Return a random duration and events."""
    short = rng.random() < domain.short_share
    duration = round(rng.uniform(MIN_CLIP_S, CLIP_SECONDS), 2) if short else CLIP_SECONDS
    if rng.random() < domain.empty_share:
        return Scene(duration, ())
    classes = draw_classes(rng, sounds)
    events = [event for label in classes for event in place_class(rng, label, duration, sounds)]
    return Scene(duration, tuple(sorted(events, key=lambda event: event.onset)))


def _at_level(signal: Signal, target: float) -> Signal:
    return signal * np.float32(target / max(level(signal), 1e-6))


def add_events(
    draw: Draw,
    scene: Scene,
    mixture: Signal,
    floor: float,
    sounds: SoundSource = SYNTHETIC_SOUNDS,
) -> tuple[Event, ...]:
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
        sound = sounds.event(draw, event.event_label, samples)
        if not len(sound):  # of a recording, where it is silent
            continue
        start = min(seconds_to_samples(event.onset), max(0, len(mixture) - len(sound)))
        event_level = levels[event.event_label] * 10 ** (draw.within(-2.0, 2.0) / 20)
        add_at(mixture, _at_level(sound, event_level), start)
        stop = min(start + len(sound), len(mixture))
        audible.append(Event(start / SAMPLE_RATE, stop / SAMPLE_RATE, event.event_label))
    return tuple(audible)


def add_non_targets(draw: Draw, mixture: Signal, floor: float, sounds: SoundSource) -> None:
    """Add sounds without a label to the mixture."""
    for _ in range(draw.rng.poisson(draw.domain.non_targets_per_clip)):
        seconds = min(draw.within(0.5, 4.0), len(mixture) / SAMPLE_RATE)
        sound = sounds.non_target(draw, seconds_to_samples(seconds))
        start = int(draw.rng.integers(0, max(1, len(mixture) - len(sound))))
        sound_level = floor * 10 ** (draw.within(*draw.domain.non_target_to_background_db) / 20)
        add_at(mixture, _at_level(sound, sound_level), start)


def _with_overrun(draw: Draw, event: Event, duration: float) -> Event:
    """Return the event, sometimes with an offset past the clip's end, as DESED has."""
    reaches_end = duration - event.offset < 0.01
    if not (reaches_end and draw.chance(draw.domain.overrun_share)):
        return event
    return event._replace(offset=event.offset + draw.within(0.001, MAX_OVERRUN_S))


def render_clip(
    rng: np.random.Generator, domain: Domain, sounds: SoundSource = SYNTHETIC_SOUNDS
) -> RenderedClip:
    """Return one random clip of the domain."""
    return render_scene(rng, domain, plan_scene(rng, domain, sounds), sounds)


def render_scene(
    rng: np.random.Generator, domain: Domain, scene: Scene, sounds: SoundSource
) -> RenderedClip:
    """Return the clip of a planned scene, with a background and sounds without a label."""
    draw = Draw(rng, domain)
    samples = seconds_to_samples(scene.duration)
    ambience = unit_power(sounds.background(draw, samples))
    floor = level(ambience)
    mixture = np.zeros(samples, dtype=np.float32)
    events = add_events(draw, scene, mixture, floor, sounds)
    add_non_targets(draw, mixture, floor, sounds)
    audio = record(rng, domain, mixture, ambience)
    return RenderedClip(
        audio, tuple(_with_overrun(draw, event, scene.duration) for event in events)
    )
