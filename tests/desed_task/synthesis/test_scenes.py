"""Generated scenes: domains, lengths, overlap; events are where they are heard."""

from itertools import pairwise

import numpy as np
import pytest

from desed_task.labels import Event
from desed_task.synthesis.domains import DOMAINS, RECORDED, SYNTHETIC, Domain, Draw
from desed_task.synthesis.scenes import Scene, add_events, plan_scene, render_clip
from desed_task.synthesis.signals import SAMPLE_RATE, envelope, noise, trimmed
from desed_task.synthesis.sources import CLASS_STATISTICS, SYNTHETIC_SOUNDS
from desed_task.synthesis.timbres import CLASSES, TIMBRES


def test_recorded_clips_vary_in_length_and_channels() -> None:
    clips = [render_clip(np.random.default_rng([1, i]), RECORDED) for i in range(30)]
    assert {clip.audio.shape[1] for clip in clips} == {1, 2}
    assert min(clip.duration for clip in clips) < 9.0
    stereo = next(clip.audio for clip in clips if clip.audio.shape[1] == 2)
    assert np.corrcoef(stereo.T)[0, 1] < 0.98


def test_some_recorded_clips_are_empty_and_no_others() -> None:
    rng = np.random.default_rng(0)
    empty = np.mean([not plan_scene(rng, RECORDED).events for _ in range(3000)])
    assert 0.007 < empty < 0.02
    assert all(plan_scene(rng, SYNTHETIC).events for _ in range(300))


def state_shares(scenes: list[Scene]) -> np.ndarray:
    """Return the shares of frames with 0, 1, 2 and more classes, Dishes not counted."""
    totals = np.zeros(3)
    for scene in scenes:
        active = np.zeros((len(CLASSES), int(scene.duration * 100)), dtype=bool)
        for event in scene.events:
            row = CLASSES.index(event.event_label)
            active[row, int(event.onset * 100) : int(event.offset * 100)] = True
        active[CLASSES.index("Dishes")] = False
        totals += np.bincount(np.minimum(active.sum(0), 2), minlength=3)
    return totals / totals.sum()


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS)
def test_occurrence_and_overlap_states_all_occur(domain: Domain) -> None:
    rng = np.random.default_rng(4)
    shares = state_shares([plan_scene(rng, domain) for _ in range(800)])
    assert shares.min() > 0.13, shares
    assert 0.25 < shares[0] < 0.40, shares


def test_lengths_follow_the_table() -> None:
    rng = np.random.default_rng(0)
    for label, statistics in CLASS_STATISTICS.items():
        lengths = [SYNTHETIC_SOUNDS.draw_length(rng, label, 10.0) for _ in range(2000)]
        measured = np.quantile(lengths, (0.1, 0.5, 0.9))
        np.testing.assert_allclose(measured, statistics.durations_s, rtol=0.12)


def test_events_of_a_class_do_not_overlap() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        scene = plan_scene(rng, RECORDED)
        for label in CLASSES:
            own = [event for event in scene.events if event.event_label == label]
            assert all(a.offset < b.onset for a, b in pairwise(own))
            assert all(0 <= e.onset < e.offset <= scene.duration + 1e-9 for e in own)


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS)
@pytest.mark.parametrize("label", CLASSES)
def test_timbres_sound_for_their_whole_length(label: str, domain: Domain) -> None:
    for number, seconds in enumerate((0.25, 0.6, 2.0, 4.0)):
        draw = Draw(np.random.default_rng(number), domain)
        sound = TIMBRES[label](draw, round(seconds * SAMPLE_RATE))
        assert sound.dtype == np.float32
        assert len(sound) == round(seconds * SAMPLE_RATE)
        assert np.isfinite(sound).all()
        audible = trimmed(sound)
        assert len(audible) > 0.45 * len(sound)
        assert longest_gap(audible) < 0.35


def longest_gap(sound: np.ndarray) -> float:
    """Return the longest silence within a sound in seconds."""
    levels = envelope(sound)
    loud = np.flatnonzero(levels > levels.max() * 10 ** (-35 / 20))
    return float(np.diff(loud).max(initial=1)) * 220 / SAMPLE_RATE


@pytest.mark.parametrize("label", CLASSES)
def test_annotations_are_the_audible_extents(label: str) -> None:
    for number in range(4):
        draw = Draw(np.random.default_rng([number, 9]), RECORDED)
        mixture = np.zeros(10 * SAMPLE_RATE, dtype=np.float32)
        planned = Event(2.0, 2.0 + SYNTHETIC_SOUNDS.draw_length(draw.rng, label, 7.0), label)
        (heard,) = add_events(draw, Scene(10.0, (planned,)), mixture, 0.01)
        assert heard.onset == pytest.approx(planned.onset, abs=1e-4)
        assert heard.offset <= planned.offset + 0.01
        start, stop = round(heard.onset * SAMPLE_RATE), round(heard.offset * SAMPLE_RATE)
        assert not mixture[:start].any()
        assert not mixture[stop:].any()
        levels = envelope(mixture[start:stop])
        floor = levels.max() * 10 ** (-31 / 20)
        assert levels[0] > floor
        assert levels[-2:].max() > floor


def test_annotated_frames_are_louder_than_others() -> None:
    """In clips the labelled frames are louder than the rest, in both domains."""
    for domain in DOMAINS.values():
        louder = []
        for number in range(12):
            clip = render_clip(np.random.default_rng([number, 2]), domain)
            levels = 20 * np.log10(envelope(np.diff(clip.audio[:, 0])) + 1e-9)
            active = np.zeros(len(levels), dtype=bool)
            for event in clip.events:
                active[int(event.onset * 200.45) : int(event.offset * 200.45)] = True
            if 0.1 < active.mean() < 0.9:
                louder.append(np.median(levels[active]) - np.median(levels[~active]))
        assert np.mean(np.array(louder) > 0) > 0.8, louder


def test_trimmed_finds_a_known_extent() -> None:
    burst = noise(np.random.default_rng(0), 22000, ((20.0, 0.0), (20000.0, 0.0)))
    padded = np.concatenate([np.zeros(4400), burst, 1e-3 * burst]).astype(np.float32)
    np.testing.assert_array_equal(trimmed(padded), burst)


def test_domains_draw_from_neighbouring_parts_of_a_range() -> None:
    def values(domain: Domain) -> list[float]:
        draw = Draw(np.random.default_rng(0), domain)
        return [draw.log(100.0, 400.0) for _ in range(500)]

    synthetic, recorded = values(SYNTHETIC), values(RECORDED)
    gap = min(recorded) / max(synthetic)
    assert 100 <= min(synthetic) < max(synthetic) < min(recorded) < max(recorded) <= 400
    assert 1.0 < gap < 1.1
