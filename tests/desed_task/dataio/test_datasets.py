from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from desed_task.dataio.batch import Clip, ClipKind, collate, float_audio
from desed_task.dataio.coverage import coverage_table, find_clips, write_missing_clips
from desed_task.dataio.datasets import (
    ClipDataset,
    ClipRequest,
    CombinedDataset,
    labelled_first,
    tag_events,
    weak_split,
)
from desed_task.errors import InputError
from desed_task.frames import FrameGrid
from desed_task.labels import Event
from tests.support.audio_files import write_tone

CLASSES = ("Cat", "Dog", "Speech")
GRID = FrameGrid()
RATE = GRID.sample_rate
FRAME = GRID.samples_per_frame


def write(path: Path, audio: NDArray[np.floating], rate: int = RATE) -> None:
    soundfile.write(path, audio, rate, subtype="PCM_16")


def heard(clip: Clip) -> torch.Tensor:
    """The clip's audio in [-1, 1], as a network is given it."""
    return float_audio(clip.audio)


def strong(folder: Path | str, annotations: dict[str, list[Event]]) -> ClipDataset:
    return clips_of(folder, annotations, ClipKind.SYNTHETIC)


def clips_of(
    folder: Path | str, events: Mapping[str, Sequence[Event]], kind: ClipKind
) -> ClipDataset:
    """A data set, as if all clips were of the grid's length."""
    return ClipDataset(folder, events, dict.fromkeys(events, 10.0), kind, CLASSES, GRID)


def test_a_strong_clip(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", np.full(160000, 0.25))
    clip = strong(tmp_path, {"a.wav": [Event(0.064, 0.13, "Dog"), Event(9.9, 11.0, "Cat")]})[0]
    assert (clip.name, clip.kind, clip.seconds) == ("a.wav", ClipKind.SYNTHETIC, 10.0)
    assert clip.audio.shape == (160000,)
    assert clip.audio.dtype == torch.int16  # as the file holds it
    assert (heard(clip) == 0.25).all()
    expected = torch.zeros(3, 156)
    expected[1, 1:3] = 1
    expected[0, 154:156] = 1
    assert torch.equal(clip.targets, expected)


def test_a_weak_clip_has_its_tags_in_all_frames(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", np.zeros(RATE))
    write(tmp_path / "b.wav", np.zeros(11 * RATE))
    events = tag_events({"a.wav": ("Cat", "Speech"), "b.wav": ("Dog",)})
    clips = clips_of(tmp_path, events, ClipKind.WEAK)
    assert clips[0].kind == ClipKind.WEAK
    assert torch.equal(clips[0].targets, torch.tensor([1.0, 0, 1])[:, None].expand(3, 156))
    cropped = clips[ClipRequest(1, seed=5)]
    assert torch.equal(cropped.targets, torch.tensor([0, 1.0, 0])[:, None].expand(3, 156))


def test_an_unlabelled_clip_has_zeros(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", np.zeros(RATE))
    clip = clips_of(tmp_path, {"a.wav": ()}, ClipKind.UNLABELLED)[0]
    assert clip.kind == ClipKind.UNLABELLED
    assert torch.equal(clip.targets, torch.zeros(3, 156))


@pytest.mark.parametrize("samples", [1, 1000, 159999])
def test_a_shorter_clip_is_padded_with_zeros(tmp_path: Path, samples: int) -> None:
    write(tmp_path / "a.wav", np.full(samples, 0.5))
    clips = strong(tmp_path, {"a.wav": []})
    for item in (0, ClipRequest(0, seed=3)):
        clip = clips[item]
        assert clip.audio.shape == (160000,)
        assert (heard(clip)[:samples] == 0.5).all()
        assert (clip.audio[samples:] == 0).all()
        assert clip.seconds == pytest.approx(samples / RATE)


def test_a_longer_clip_begins_at_its_start_in_evaluation(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", np.arange(12 * RATE) % 30000 / 32768)
    clips = strong(tmp_path, {"a.wav": [Event(9.0, 12.0, "Dog"), Event(11.0, 11.5, "Cat")]})
    clip = clips[0]
    np.testing.assert_array_equal(clip.audio, np.arange(160000) % 30000)
    assert clip.seconds == 12.0
    assert clips.events(0) == [Event(9.0, 10.0, "Dog")]
    assert clip.targets.sum() == clip.targets[1, 140:].sum() == 16


def test_events_move_with_a_training_crop_to_the_frame(tmp_path: Path) -> None:
    """The truth is in the audio: where an impulse lies, its event's only frame lies."""
    seen_starts, seen_frames = set(), set()
    for number in range(40):
        impulse = 2 * RATE + 997 * 4 * number
        audio = np.zeros(13 * RATE)
        audio[impulse] = 0.5
        write(tmp_path / "a.wav", audio)
        event = Event(impulse / RATE, (impulse + 1) / RATE, "Dog")
        clips = strong(tmp_path, {"a.wav": [event]})
        clip = clips[ClipRequest(0, seed=number)]
        places = clip.audio.nonzero().flatten().tolist()
        frames = clip.targets[1].nonzero().flatten().tolist()
        if places and places[0] // FRAME < 156:
            assert frames == [places[0] // FRAME]
            seen_starts.add(impulse - places[0])
            seen_frames.add(frames[0])
        else:
            assert frames == []
        assert clip.targets[[0, 2]].sum() == 0
    assert len(seen_starts) > 25
    assert len(seen_frames) > 20


def test_an_event_at_a_frame_edge_stays_there_after_any_shift() -> None:
    """Whole samples are not whole binary numbers of seconds; the shift must not lose a frame."""
    rng = np.random.default_rng(0)
    for _ in range(2000):
        start = int(rng.integers(0, 50000))
        first, end = sorted(rng.choice(157, size=2, replace=False).tolist())
        event = Event((start + first * FRAME) / RATE, (start + end * FRAME) / RATE, "Dog")
        clips = strong(".", {"a.wav": [event]})
        ((onset, offset, _),) = clips.events(0, start / RATE)
        assert (GRID.onset_to_frame(onset), GRID.offset_to_frame(offset)) == (first, end)


def test_shifted_events_are_clipped_dropped_and_kept_once() -> None:
    events = [
        Event(0.0, 1.0, "Cat"),  # before the part
        Event(0.0, 2.0, "Cat"),  # ends where the part begins
        Event(1.0, 12.5, "Dog"),  # around it
        Event(0.5, 13.0, "Dog"),  # around it as well: equal once clipped
        Event(3.0, 4.0, "Dog"),
        Event(12.0, 13.0, "Cat"),  # begins where the part ends
        Event(11.0, 13.0, "Speech"),  # reaches into it from the end
    ]
    clips = strong(".", {"x.wav": [Event(0, 1, "Cat")], "a.wav": events})
    assert clips.events(1, 2.0) == [
        Event(0.0, 10.0, "Dog"),
        Event(1.0, 2.0, "Dog"),
        Event(9.0, 10.0, "Speech"),
    ]
    assert clips.events(0) == [Event(0, 1, "Cat")]


def test_a_request_is_the_same_clip_in_every_worker(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in "abcdef":
        write(tmp_path / f"{name}.wav", rng.uniform(-0.5, 0.5, 12 * RATE))
    clips = strong(tmp_path, {f"{name}.wav": [Event(3.0, 6.0, "Dog")] for name in "abcdef"})
    requests = [ClipRequest(index, seed=100 + index) for index in range(6)]
    alone = collate([clips[request] for request in requests])
    loader = DataLoader(
        clips, batch_sampler=[requests[:3], requests[3:]], num_workers=2, collate_fn=collate
    )
    served = list(loader)
    assert torch.equal(torch.cat([batch.audio for batch in served]), alone.audio)
    assert torch.equal(torch.cat([batch.targets for batch in served]), alone.targets)
    assert sum((batch.names for batch in served), ()) == alone.names
    other = clips[ClipRequest(0, seed=7)]
    assert not torch.equal(other.audio, alone.audio[0])


def test_only_the_excerpt_of_a_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.wav", np.zeros(30 * RATE))
    counts = []
    read = soundfile.SoundFile.read

    def counting(self: soundfile.SoundFile, *args: Any, **kwargs: Any) -> NDArray[np.float32]:
        audio = read(self, *args, **kwargs)
        counts.append(len(audio))
        return audio

    monkeypatch.setattr(soundfile.SoundFile, "read", counting)
    strong(tmp_path, {"a.wav": []})[ClipRequest(0, seed=1)]
    assert counts == [160000]


def test_combined_sets_are_concatenated(tmp_path: Path) -> None:
    for name in "abc":
        write_tone(tmp_path / f"{name}.wav")
    combined = CombinedDataset(
        [
            strong(tmp_path, {"a.wav": []}),
            clips_of(tmp_path, tag_events({"b.wav": ("Cat",), "c.wav": ()}), ClipKind.WEAK),
            clips_of(tmp_path, {"a.wav": (), "b.wav": ()}, ClipKind.UNLABELLED),
        ]
    )
    assert len(combined) == 5
    clips = [combined[index] for index in range(5)]
    assert [(clip.name, int(clip.kind)) for clip in clips] == [
        ("a.wav", 0),
        ("b.wav", 1),
        ("c.wav", 1),
        ("a.wav", 2),
        ("b.wav", 2),
    ]
    assert combined[ClipRequest(2, seed=0)].name == "c.wav"
    for outside in (-1, 5, ClipRequest(5, seed=0)):
        with pytest.raises(IndexError):
            combined[outside]


def test_the_first_labelled_clips_have_every_class() -> None:
    labels = [{"Dog"}] * 30 + [{"Dog", "Cat"}] * 3 + [set[str]()] * 10 + [{"Speech"}]
    order = labelled_first(labels, seed=1)
    assert sorted(order) == list(range(44))
    assert order[0] == 43  # the class of one clip
    assert order[1] in range(30, 33)
    assert {label for clip in order[:3] for label in labels[clip]} == {"Dog", "Cat", "Speech"}
    assert order == labelled_first(labels, seed=1) != labelled_first(labels, seed=2)
    assert labelled_first([], seed=1) == []


def test_the_weak_split_is_the_published_one(desed_tables: Path) -> None:
    table = pandas.read_csv(desed_tables / "weak.tsv", sep="\t")
    published = table.sample(frac=0.9, random_state=2021)
    split = weak_split(list(table.filename), 0.9, seed=2021)
    assert len(split.train) == 1420
    assert len(split.validation) == 158
    assert set(split.train) == set(published.filename)
    assert set(split.validation) == set(table.drop(published.index).filename)


def test_the_weak_split_keeps_the_order_and_depends_on_the_seed() -> None:
    names = [f"{number}.wav" for number in range(20)]
    split = weak_split(names, 0.75, seed=1)
    assert len(split.train) == 15
    assert sorted(split.train + split.validation, key=names.index) == names
    assert split.train == [name for name in names if name in split.train]
    assert split == weak_split(names, 0.75, seed=1)
    assert split != weak_split(names, 0.75, seed=2)


@pytest.mark.parametrize(("clips", "fraction"), [(1, 0.9), (4, 0.95), (4, 0.05)])
def test_a_weak_split_with_an_empty_side_is_refused(clips: int, fraction: float) -> None:
    with pytest.raises(InputError, match=r"^training\.weak_split: expected at least 1 "):
        weak_split([f"{number}.wav" for number in range(clips)], fraction, seed=0)


def test_coverage_counts_what_is_expected_found_missing_and_unknown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, usable = tmp_path, ("a.wav", "b.wav", "x.wav")
    synthetic = find_clips("synthetic", folder, usable, ["c.wav", "b.wav", "a.wav", "d.wav"])
    assert synthetic.expected == 4
    assert synthetic.found == ("b.wav", "a.wav")
    assert synthetic.missing == ("c.wav", "d.wav")
    assert synthetic.unannotated == 1
    everything = find_clips("unlabelled", folder, usable, usable)
    assert everything.found == ("a.wav", "b.wav", "x.wav")
    assert (everything.expected, everything.missing, everything.unannotated) == (3, (), 0)

    head, first, second = coverage_table([synthetic, everything]).splitlines()
    assert head.split() == ["set", "expected", "found", "missing", "not", "annotated", "folder"]
    assert first.split() == ["synthetic", "4", "2", "2", "1", str(tmp_path)]
    assert second.split() == ["unlabelled", "3", "3", "0", "0", str(tmp_path)]

    listing = tmp_path / "run" / "missing.tsv"
    assert write_missing_clips([synthetic, everything], listing) == 2
    assert listing.read_text() == "set\tfilename\nsynthetic\tc.wav\nsynthetic\td.wav\n"
    assert f"2 annotated clips have no audio; they are listed in {listing}" in caplog.text
    caplog.clear()
    assert write_missing_clips([everything], listing) == 0
    assert not listing.exists()
    assert not caplog.records


def test_an_empty_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none: .*weak set"):
        find_clips("weak", tmp_path / "none", [], ["a.wav"])
    with pytest.raises(InputError, match="weak set: expected 2 clips, got 0 "):
        find_clips("weak", tmp_path, ["x.wav"], ["a.wav", "b.wav"])
    with pytest.raises(InputError, match="unlabelled set: expected 0 clips"):
        find_clips("unlabelled", tmp_path, [], [])
