"""Clips of recorded sounds: lone sounds, none, recordings as they are, bandwidth."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import soundfile
from numpy.typing import NDArray

from desed_task.errors import InputError
from desed_task.synthesis.domains import RECORDED, SYNTHETIC, Draw, SceneShares
from desed_task.synthesis.isolated import render_recorded
from desed_task.synthesis.recorded import RecordedSounds, low_passed, sections_of
from desed_task.synthesis.scenes import RenderedClip
from desed_task.synthesis.signals import SAMPLE_RATE

NARROW_HZ = 3500.0
LONE, EMPTY = SceneShares(1.0, 0.0), SceneShares(0.0, 1.0)


def recording(path: Path, seconds: float, onsets: tuple[float, ...], width_hz: float) -> Path:
    """A recording of noise: bursts of 0.4 s in silence, with a bandwidth."""
    noise = np.random.default_rng(len(path.name)).standard_normal(int(seconds * SAMPLE_RATE))
    audio = low_passed(0.1 * noise.astype(np.float32), width_hz)
    mask = np.zeros(len(audio), dtype=np.float32)
    for onset in onsets:
        mask[int(onset * SAMPLE_RATE) : int((onset + 0.4) * SAMPLE_RATE)] = 1
    soundfile.write(path, audio * mask if onsets else audio, SAMPLE_RATE, subtype="FLOAT")
    return path


Maker = Callable[..., RecordedSounds]


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    """A function that makes sounds: for each class the number of narrow and wide recordings."""

    def sounds(
        seconds: float = 1.5, onsets: tuple[float, ...] = (0.5,), **counts: tuple[int, int]
    ) -> RecordedSounds:
        def sections(name: str, onsets: tuple[float, ...], width_hz: float) -> list:
            path = recording(tmp_path / f"{name}.wav", seconds, onsets, width_hz)
            return sections_of(path, 0.25 if onsets else np.inf)

        events = {
            label: [
                sections(f"{label}{n}", onsets, NARROW_HZ if n < narrow else SAMPLE_RATE / 2)
                for n in range(narrow + wide)
            ]
            for label, (narrow, wide) in counts.items()
        }
        ambiences = [sections(f"noise{n}", (), SAMPLE_RATE / 2)[0] for n in range(2)]
        return RecordedSounds(events, ambiences, SAMPLE_RATE / 2)

    return sounds


def clips(sounds: RecordedSounds, shares: SceneShares, count: int) -> list[RenderedClip]:
    rng = np.random.default_rng(3)
    return [render_recorded(rng, SYNTHETIC, sounds, shares) for _ in range(count)]


def test_shares_of_clips_without_events_and_with_one_recording(make: Maker) -> None:
    sounds = make(Bell=(0, 2), Dog=(0, 2))
    made = clips(sounds, SceneShares(lone=0.3, empty=0.3), 60)
    empty = np.mean([not clip.events for clip in made])
    assert empty == pytest.approx(0.3, abs=0.17)
    assert all(clip.events for clip in clips(sounds, SceneShares(0.5, 0.0), 10))
    for shares in ((0.6, 0.6), (-0.1, 0.0), (float("nan"), 0.0)):
        with pytest.raises(InputError, match="_share: expected"):
            SceneShares(*shares)


def test_lone_sounds_are_recordings_as_they_are_or_hardly_have_a_background(make: Maker) -> None:
    sounds = make(seconds=3.0, onsets=(0.5, 2.0), Bell=(0, 2))
    files = [soundfile.read(each[0].path)[0] for each in sounds.events["Bell"]]
    as_recorded = 0
    for clip in clips(sounds, LONE, 20):
        audio = clip.audio[:, 0]
        if len(audio) == len(files[0]):
            as_recorded += 1
            assert any(np.allclose(audio, file, atol=1e-6) for file in files)
            assert [event.onset for event in clip.events] == pytest.approx([0.5, 2.0], abs=0.01)
            assert [event.offset for event in clip.events] == pytest.approx([0.9, 2.4], abs=0.01)
        else:
            (event,) = clip.events
            inside = np.zeros(len(audio), dtype=bool)
            inside[round(event.onset * SAMPLE_RATE) : round(event.offset * SAMPLE_RATE)] = True
            ratio = np.mean(audio[inside] ** 2) / np.mean(audio[~inside] ** 2)
            assert 28 < 10 * np.log10(ratio) < 62
    assert 4 < as_recorded < 16


def test_of_a_long_recording_ten_seconds_with_the_right_times(make: Maker) -> None:
    onsets = (1.0, 7.0, 13.0, 18.0)
    sounds = make(seconds=20.0, onsets=onsets, Bell=(0, 1))
    (file,) = (soundfile.read(each[0].path)[0] for each in sounds.events["Bell"])
    seen = set()
    for clip in clips(sounds, LONE, 20):
        audio = clip.audio[:, 0]
        first = np.flatnonzero(np.abs(audio) > 0)[0]
        equal = np.flatnonzero(np.isclose(file, audio[first], rtol=1e-6, atol=0)) - first
        starts = [
            start
            for start in equal[equal >= 0]
            if np.allclose(file[start : start + len(audio)], audio, atol=1e-6)
        ]
        if not starts:
            continue  # a single event
        assert len(audio) == 10 * SAMPLE_RATE
        begin = starts[0] / SAMPLE_RATE
        expected = [
            (max(0.0, onset - begin), min(10.0, onset + 0.4 - begin))
            for onset in onsets
            if min(10.0, onset + 0.4 - begin) - max(0.0, onset - begin) > 0.03
        ]
        found = [(event.onset, event.offset) for event in clip.events]
        if len(found) == len(expected):  # but for a piece of 20 to 30 ms
            np.testing.assert_allclose(found, expected, atol=0.02)
        seen.add(round(begin))
    assert len(seen) > 3


def test_empty_clips_are_backgrounds_of_all_levels(make: Maker) -> None:
    sounds = make(Bell=(0, 1))
    made = clips(sounds, EMPTY, 40)
    assert not any(clip.events for clip in made)
    assert {round(clip.duration, 1) for clip in made} == {2.0, 10.0}  # of 1.5 s as it is, mixed
    peaks = np.array([np.abs(clip.audio).max() for clip in made])
    assert (peaks > 0.1).sum() > 15
    assert (peaks < 0.02).sum() > 2


def is_narrow(audio: NDArray[np.floating]) -> bool:
    """Whether hardly any energy is above the narrow bandwidth, of noise that is white below."""
    power = np.abs(np.fft.rfft(audio)) ** 2
    border = round((NARROW_HZ + 1000) * len(audio) / SAMPLE_RATE)
    return bool(power[border:].sum() < 0.2 * power.sum())


def counts_of_narrow(made: list[RenderedClip]) -> dict[str, NDArray[np.int64]]:
    """Of each class the number of clips in which its first event is wide, and narrow."""
    counts = {label: np.zeros(2, dtype=np.int64) for label in ("Bell", "Dog")}
    for clip in made:
        for label, found in counts.items():
            event = next((each for each in clip.events if each.event_label == label), None)
            if event is not None:
                first, stop = (round(each * SAMPLE_RATE) for each in event[:2])
                found[int(is_narrow(clip.audio[first:stop, 0]))] += 1
    return counts


@pytest.mark.parametrize("shares", [SceneShares(0.0, 0.0), LONE], ids=["scenes", "alone"])
def test_bandwidth_does_not_identify_a_class(make: Maker, shares: SceneShares) -> None:
    """Recordings of one class are mostly narrow, of the other mostly wide."""
    sounds = make(Bell=(6, 2), Dog=(1, 7))
    raw = {
        label: sum(each[0].bandwidth_hz < 4000 for each in recordings) / len(recordings)
        for label, recordings in sounds.events.items()
    }
    assert raw == {"Bell": 0.75, "Dog": 0.125}
    counts = counts_of_narrow(clips(sounds, shares, 60))
    table = np.array(list(counts.values()))
    assert table.min() >= 3, table  # both bandwidths occur in both classes
    assert scipy.stats.fisher_exact(table).pvalue > 0.05, table


def test_a_class_of_narrow_recordings_is_always_used(make: Maker) -> None:
    """It is narrow in all clips; the others are in a share of them."""
    sounds = make(Bell=(3, 0), Dog=(0, 3))
    counts = counts_of_narrow(clips(sounds, LONE, 60))
    assert counts["Bell"][0] == 0
    assert counts["Bell"][1] > 10
    assert counts["Dog"].min() > 3


def test_a_sound_above_the_limit_is_not_used_under_it(tmp_path: Path) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32)
    below = low_passed(noise, NARROW_HZ)
    sections = []
    for name, audio in (("low", below), ("high", noise - low_passed(noise, 5000.0))):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, audio, SAMPLE_RATE, "FLOAT")
        sections.append(sections_of(path, 0.25))
    low, high = sections
    assert low[0].bandwidth_hz == pytest.approx(NARROW_HZ, abs=500)
    assert high[0].bandwidth_hz == SAMPLE_RATE / 2
    assert low[0].lowest_hz < 1000
    assert high[0].lowest_hz == pytest.approx(5100, abs=200)
    both = RecordedSounds({"Hiss": [low, high]}, (), SAMPLE_RATE / 2)
    assert both.limited(3000.0).events == {"Hiss": [low]}
    assert both.limited(SAMPLE_RATE / 2).events == {"Hiss": [high]}
    # A class that a limit silences is not in the scenes with this limit.
    apart = RecordedSounds({"Low": [low], "High": [high]}, (), SAMPLE_RATE / 2)
    rng = np.random.default_rng(0)
    drawn = [apart.drawn(rng) for _ in range(50)]
    assert {(each.cutoff_hz < 5000, each.classes) for each in drawn} == {
        (True, ("Low",)),
        (False, ("Low", "High")),
    }
    assert np.mean([len(each.classes) == 1 for each in drawn]) == pytest.approx(0.5, abs=0.2)
    # A limit that silences all is not drawn.
    alone = RecordedSounds({"High": [high]}, low, SAMPLE_RATE / 2)
    assert {alone.drawn(rng).cutoff_hz for _ in range(20)} == {SAMPLE_RATE / 2}
    event = both.limited(2000.0).event(Draw(rng, RECORDED), "Hiss", SAMPLE_RATE)
    power = np.abs(np.fft.rfft(event)) ** 2
    assert power[round(2300 * len(event) / SAMPLE_RATE) :].sum() < 1e-3 * power.sum()
