"""Clips of recorded sounds: scenes, single recordings, backgrounds without events, near-silence.

In scenes a sound is hardly ever alone. A share of the clips has one sound alone, and a share has no
event, so that a network knows isolated recordings and noises.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from desed_task.labels import Event
from desed_task.synthesis.domains import CLIP_SECONDS, Domain, Draw, SceneShares
from desed_task.synthesis.recorded import RecordedSounds, Section, read_sound
from desed_task.synthesis.scenes import (
    MIN_CLIP_S,
    RenderedClip,
    Scene,
    render_clip,
    render_scene,
)
from desed_task.synthesis.signals import SAMPLE_RATE, seconds_to_samples, within_full_scale

AS_RECORDED_SHARE = 0.5
"""Share of the single recordings, and of the backgrounds, that are used as they are."""
LONE_TO_BACKGROUND_DB = (30.0, 60.0)
"""Level of a lone event relative to its background."""
SILENT_SHARE = 0.25
"""Share of the mixed backgrounds that are near-silence."""
SILENCE_DB = (-70.0, -30.0)
"""Gain of near-silence."""
MIN_PIECE_S = 0.02
"""Shorter pieces of events at a clip's edge are not labelled."""


def render_recorded(
    rng: np.random.Generator, domain: Domain, bank: RecordedSounds, shares: SceneShares
) -> RenderedClip:
    """Return one random clip, of recorded sounds alone where the shares have it."""
    sounds = bank.drawn(rng)
    draw = Draw(rng, domain)
    position = rng.random()
    if position < shares.lone:
        return _lone(draw, sounds)
    if position < shares.lone + shares.empty:
        return _empty(draw, sounds)
    return render_clip(rng, domain, sounds)


def _lone(draw: Draw, sounds: RecordedSounds) -> RenderedClip:
    """A recording as it is, or one event over a background that is hardly heard."""
    rng = draw.rng
    label = sounds.classes[int(rng.integers(len(sounds.classes)))]
    if draw.chance(AS_RECORDED_SHARE):
        recordings = sounds.events[label]
        return _as_recorded(rng, sounds, recordings[int(rng.integers(len(recordings)))], label)
    length = sounds.draw_length(rng, label, CLIP_SECONDS)
    onset = float(rng.uniform(0.0, CLIP_SECONDS - length))
    scene = Scene(CLIP_SECONDS, (Event(onset, onset + length, label),))
    quiet = replace(
        draw.domain, event_to_background_db=LONE_TO_BACKGROUND_DB, non_targets_per_clip=0.0
    )
    return render_scene(rng, quiet, scene, sounds)


def _empty(draw: Draw, sounds: RecordedSounds) -> RenderedClip:
    """A background: as it is, or mixed with sounds without a label, or near-silence."""
    if sounds.ambiences and draw.chance(AS_RECORDED_SHARE):
        ambience = sounds.ambiences[int(draw.rng.integers(len(sounds.ambiences)))]
        return _as_recorded(draw.rng, sounds, [ambience])
    clip = render_scene(draw.rng, draw.domain, Scene(CLIP_SECONDS, ()), sounds)
    if not draw.chance(SILENT_SHARE):
        return clip
    return replace(clip, audio=clip.audio * np.float32(10 ** (draw.within(*SILENCE_DB) / 20)))


def _as_recorded(
    rng: np.random.Generator, sounds: RecordedSounds, sections: Sequence[Section], label: str = ""
) -> RenderedClip:
    """A recording at its own level; ten seconds of a longer one, with some of its sections.

    Without a label the sections are no events.
    """
    audio = read_sound(sections[0].path, sounds.cutoff_hz, sounds.channel)
    length = seconds_to_samples(CLIP_SECONDS)
    heard = sections[int(rng.integers(len(sections)))]
    start = int(rng.integers(heard.start, heard.stop)) - int(rng.integers(length))
    start = max(0, min(start, len(audio) - length))
    audio = audio[start : start + length]
    spans = [(max(0, each.start - start), min(each.stop - start, len(audio))) for each in sections]
    events = tuple(
        Event(first / SAMPLE_RATE, stop / SAMPLE_RATE, label)
        for first, stop in spans
        if label and stop - first >= MIN_PIECE_S * SAMPLE_RATE
    )
    audio = np.pad(audio, (0, max(0, seconds_to_samples(MIN_CLIP_S) - len(audio))))
    return RenderedClip(within_full_scale(audio)[:, None], events)
