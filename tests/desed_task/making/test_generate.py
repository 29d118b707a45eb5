"""The generated data set: layout, reproducibility, tables, format of the audio, the command."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from desed_task.desed import BY_NAME, CLIP_SETS, ClipSet
from desed_task.errors import FaultError, InputError
from desed_task.making.generate import clip_generator, generate_dataset, make_clip
from desed_task.making.layout import SIZES
from desed_task.synthesis.domains import DOMAINS, RECORDED
from desed_task.synthesis.scenes import plan_scene
from desed_task.synthesis.timbres import CLASSES
from local.generate import main

MADE = [BY_NAME[name] for name in SIZES["tiny"]]
INDICES = {clip_set.name: index for index, clip_set in enumerate(CLIP_SETS)}
SMALL = {name: 2 if name == "weak" else 1 for name in SIZES["tiny"]}


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
    assert list(tiny.parent.iterdir()) == [tiny]
    assert list(SIZES["full"].values()) == [10000, 1578, 14412, 2500, 1168, 692]  # DESED's


@pytest.mark.parametrize("clip_set", MADE, ids=lambda clip_set: clip_set.name)
def test_tables_agree_with_the_audio(clip_set: ClipSet, tiny: Path) -> None:
    files = {path.name: soundfile.info(path) for path in (tiny / clip_set.audio).glob("*.wav")}
    table = pd.read_csv(tiny / clip_set.table, sep="\t", dtype=str)
    assert set(table["filename"]) == set(files)
    if clip_set.labels == "strong":
        assert list(table) == ["filename", "onset", "offset", "event_label"]
        rows = table.dropna()
        assert rows.onset.str.fullmatch(r"\d+\.\d{3}").all()
        assert rows.offset.str.fullmatch(r"\d+\.\d{3}").all()
        assert set(rows.event_label) <= set(CLASSES)
        assert (rows.offset.astype(float) - rows.onset.astype(float)).between(0.01, 10.2).all()
    elif clip_set.labels == "weak":
        assert list(table) == ["filename", "event_labels"]
        tags = table.event_labels.str.split(",")
        assert set(tags.explode()) <= set(CLASSES)
        assert all(1 <= len(each) == len(set(each)) <= 4 for each in tags)
    if clip_set.durations is not None:
        durations = pd.read_csv(tiny / clip_set.durations, sep="\t")
        assert list(durations) == ["filename", "duration"]
        assert dict(durations.itertuples(index=False)) == {
            name: pytest.approx(info.duration, abs=6e-4) for name, info in files.items()
        }


@pytest.mark.parametrize("clip_set", MADE, ids=lambda clip_set: clip_set.name)
def test_format_of_the_sound_files(clip_set: ClipSet, tiny: Path) -> None:
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


def seed_without_events(set_name: str) -> int:
    """A seed with which the first clip of a set is planned without events."""
    index = INDICES[set_name]
    return next(
        seed
        for seed in range(1000)
        if not plan_scene(clip_generator(seed, index, 0), RECORDED).events
    )


def test_a_clip_without_event_has_one_row_without_times(tmp_path: Path) -> None:
    generate_dataset(tmp_path / "data", seed_without_events("test"), {"test": 1})
    text = (tmp_path / "data/metadata/validation/validation.tsv").read_text()
    assert text.splitlines()[1:] == ["validation_00000.wav\t\t\t"]


def test_weak_clips_always_have_a_tag() -> None:
    assert make_clip(seed_without_events("weak"), INDICES["weak"], 0).events


@pytest.mark.parametrize(
    ("name", "raised", "expected"),
    [
        ("desed_task.making.generate.write_texts", KeyboardInterrupt(), KeyboardInterrupt),
        ("soundfile.write", OSError(28, "No space left on device"), FaultError),
    ],
)
def test_a_failure_leaves_nothing(
    name: str,
    raised: BaseException,
    expected: type[BaseException],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(name, fail)
    with pytest.raises(expected):
        generate_dataset(tmp_path / "data", 1, {"weak": 1})
    assert not list(tmp_path.iterdir())


def test_unknown_sets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown set: expected some of synthetic, weak"):
        generate_dataset(tmp_path / "data", 1, {"weakly": 1})


@pytest.mark.parametrize(
    "mistake",
    ["--size=huge", "--workers=0", "--seed=-1", "--weak=w", "--output={folder}", "--out={folder}"],
)
def test_mistakes_name_their_option(mistake: str, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    option, value = mistake.format(folder=tmp_path).split("=")
    given = ["--output", str(tmp_path / "data"), "--size", "tiny"]
    with pytest.raises(InputError) as caught:
        main([*given, option, value])
    assert str(caught.value).startswith("--output" if option == "--out" else option)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
