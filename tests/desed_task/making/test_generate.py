"""The generated data set: layout, reproducibility, domains, labels that agree with the sound."""

import hashlib
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from desed_task.desed import BY_NAME, CLIP_SETS
from desed_task.errors import FaultError, InputError
from desed_task.labels import Event
from desed_task.making.generate import generate_dataset, make_clip
from desed_task.making.layout import SIZES
from desed_task.synthesis.domains import DOMAINS, RECORDED, SYNTHETIC, Domain, Draw
from desed_task.synthesis.scenes import Scene, add_events, plan_scene, render_clip
from desed_task.synthesis.signals import SAMPLE_RATE, envelope, noise, trimmed
from desed_task.synthesis.sources import CLASS_STATISTICS, SYNTHETIC_SOUNDS
from desed_task.synthesis.timbres import CLASSES, TIMBRES
from local.generate import main

MADE = [BY_NAME[name] for name in SIZES["tiny"]]
SMALL = {
    "synthetic": 1,
    "weak": 2,
    "unlabelled": 1,
    "synthetic validation": 1,
    "test": 1,
    "eval": 1,
}


def digest(folder: Path) -> dict[str, str]:
    """Return the hash of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `tiny` data set made through the command line."""
    out = tmp_path_factory.mktemp("generated") / "tiny"
    main(["--output", str(out), "--seed", "3", "--size", "tiny", "--workers", "1"])
    return out


def test_same_seed_same_bytes_for_any_number_of_workers(tmp_path: Path) -> None:
    for name, seed, workers in (("one", 7, 1), ("two", 7, 2), ("other", 8, 1)):
        generate_dataset(tmp_path / name, seed, SMALL, workers)
    one, two, other = (digest(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert one.keys() == other.keys()
    sounds = [name for name in one if name.endswith(".wav")]
    assert len(sounds) == sum(SMALL.values()) == len({one[name] for name in sounds})
    assert all(one[name] != other[name] for name in sounds)


def test_a_clip_does_not_depend_on_the_size(tmp_path: Path) -> None:
    generate_dataset(tmp_path / "one", 7, {"eval": 1})
    generate_dataset(tmp_path / "two", 7, {"weak": 1, "eval": 2})
    first = "audio/eval/public/public_00000.wav"
    assert digest(tmp_path / "one")[first] == digest(tmp_path / "two")[first]


def test_layout_and_counts(tiny: Path) -> None:
    expected = {
        "audio/train/synthetic21_train/soundscapes": 12,
        "audio/train/weak": 10,
        "audio/train/unlabel_in_domain": 20,
        "audio/validation/synthetic21_validation/soundscapes": 6,
        "audio/validation/validation": 8,
        "audio/eval/public": 6,
    }
    assert {p: len(list((tiny / p).glob("*.wav"))) for p in expected} == expected
    assert sorted(str(p.relative_to(tiny)) for p in tiny.rglob("*.tsv")) == [
        "metadata/eval/public.tsv",
        "metadata/eval/public_durations.tsv",
        "metadata/train/synthetic21_train/soundscapes.tsv",
        "metadata/train/unlabel_in_domain.tsv",
        "metadata/train/weak.tsv",
        "metadata/validation/synthetic21_validation/durations.tsv",
        "metadata/validation/synthetic21_validation/soundscapes.tsv",
        "metadata/validation/validation.tsv",
        "metadata/validation/validation_durations.tsv",
    ]
    assert not list(tiny.parent.glob("*.partial"))


def test_full_size_has_the_counts_of_desed() -> None:
    assert list(SIZES["full"].values()) == [10000, 1578, 14412, 2500, 1168, 692]


def test_tables_name_the_written_files(tiny: Path) -> None:
    for clip_set in MADE:
        files = sorted(path.name for path in (tiny / clip_set.audio).glob("*.wav"))
        for table in (clip_set.table, clip_set.durations):
            if table:
                assert sorted(set(pd.read_csv(tiny / table, sep="\t").filename)) == files


def test_strong_tables(tiny: Path) -> None:
    for clip_set in MADE:
        if clip_set.labels != "strong":
            continue
        text = (tiny / clip_set.table).read_text()
        assert text.startswith("filename\tonset\toffset\tevent_label\n")
        rows = pd.read_csv(tiny / clip_set.table, sep="\t", dtype=str).dropna()
        assert rows.onset.str.fullmatch(r"\d+\.\d{3}").all()
        assert rows.offset.str.fullmatch(r"\d+\.\d{3}").all()
        assert set(rows.event_label) <= set(CLASSES)
        lengths = rows.offset.astype(float) - rows.onset.astype(float)
        assert lengths.between(0.01, 10.2).all()


def test_durations_and_tags(tiny: Path) -> None:
    for clip_set in MADE:
        if clip_set.durations:
            table = pd.read_csv(tiny / clip_set.durations, sep="\t")
            assert list(table) == ["filename", "duration"]
            for row in table.itertuples():
                seconds = soundfile.info(tiny / clip_set.audio / str(row.filename)).duration
                assert row.duration == pytest.approx(seconds, abs=6e-4)
    weak = pd.read_csv(tiny / "metadata/train/weak.tsv", sep="\t")
    assert list(weak) == ["filename", "event_labels"]
    tags = weak.event_labels.str.split(",")
    assert set(tags.explode()) <= set(CLASSES)
    assert all(1 <= len(each) == len(set(each)) <= 4 for each in tags)


def test_format_of_the_sound_files(tiny: Path) -> None:
    for clip_set in MADE:
        for path in (tiny / clip_set.audio).glob("*.wav"):
            info = soundfile.info(path)
            assert (info.samplerate, info.subtype) == (44100, "PCM_16")
            if clip_set.domain == "synthetic":
                assert (info.channels, info.frames) == (1, 441000)
            else:
                assert info.channels in (1, 2)
                assert 2 * 44100 <= info.frames <= 441000
            peak = np.abs(soundfile.read(path)[0]).max()
            low, high = (10 ** (db / 20) for db in DOMAINS[clip_set.domain].peak_db)
            assert low - 1e-3 <= peak <= high + 1e-3


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


def test_a_clip_without_event_has_one_row_without_times(tmp_path: Path) -> None:
    seed = next(s for s in range(1000) if not _planned(s).events)
    generate_dataset(tmp_path / "data", seed, {"test": 1})
    text = (tmp_path / "data/metadata/validation/validation.tsv").read_text()
    assert text.splitlines()[1:] == ["validation_00000.wav\t\t\t"]


def _planned(seed: int) -> Scene:
    index = [clip_set.name for clip_set in CLIP_SETS].index("test")
    rng = np.random.default_rng(np.random.SeedSequence([seed, index, 0]))
    return plan_scene(rng, RECORDED)


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


def test_weak_clips_always_have_a_tag() -> None:
    index = [clip_set.name for clip_set in CLIP_SETS].index("weak")
    seed = next(s for s in range(1000) if not _planned_weak(s, index).events)
    assert make_clip(seed, index, 0).events


def _planned_weak(seed: int, index: int) -> Scene:
    return plan_scene(np.random.default_rng(np.random.SeedSequence([seed, index, 0])), RECORDED)


def test_an_interrupted_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("desed_task.making.generate.write_metadata", stop)
    with pytest.raises(KeyboardInterrupt):
        generate_dataset(tmp_path / "data", 1, {"weak": 1})
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("soundfile.write", full)
    with pytest.raises(FaultError, match=r"data: cannot be written: No space left on device"):
        generate_dataset(tmp_path / "data", 1, {"weak": 1})


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").write_bytes(b"hidden")
    generate_dataset(tmp_path, 1, {"weak": 1})
    assert (tmp_path / "metadata/train/weak.tsv").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".DS_Store", "audio", "metadata"]


def test_unknown_sets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown set: expected some of synthetic, weak"):
        generate_dataset(tmp_path / "data", 1, {"weakly": 1})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--size", "huge"),
            "--size: expected one of tiny, demo, ablation, medium, full, got 'huge'",
        ),
        (("--size", "tiny", "--workers", "0"), "--workers: expected at least 1, got 0"),
        (("--size", "tiny", "--seed", "-1"), "--seed: expected at least 0, got -1"),
    ],
)
def test_bad_arguments_are_refused(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        main(["--output", str(tmp_path / "data"), *arguments])
    assert str(caught.value) == message
    assert not list(tmp_path.iterdir())


def test_command_line_leaves_a_folder_with_content_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    module = [sys.executable, "-m", "local.generate"]
    done = subprocess.run(
        [*module, "--output", str(tmp_path), "--size", "tiny"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 2
    assert "--output: expected a new or empty folder" in done.stderr
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
