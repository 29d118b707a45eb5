"""Scenes from isolated recordings: splits, times, bandwidth, given clips, configuration."""

import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from numpy.typing import NDArray

from desed_task.desed import BY_NAME
from desed_task.errors import InputError
from desed_task.making.grouping import SPLITS, TEST, by_take_letter, split_soundbank
from desed_task.making.soundbank import class_files
from desed_task.synthesis.domains import SYNTHETIC, Draw
from desed_task.synthesis.recorded import (
    RecordedSounds,
    Section,
    bandwidth,
    bursts,
    looped,
    low_passed,
)
from desed_task.synthesis.signals import SAMPLE_RATE
from local import generate
from local.config.load import load_config
from local.generate import main
from tests.support.audio_files import tone

SIZES = {
    "synthetic": 6,
    "weak": 3,
    "unlabelled": 2,
    "synthetic validation": 4,
    "test": 5,
    "eval": 0,
}
PITCHES = {  # of each recording in Hz
    "Ding": {"1-dog": 500.0, "1-11": 700.0, "2-12": 900.0, "5-13": 1100.0},
    "Düdel laut": {"1-21": 1500.0, "2-22": 1900.0, "5-23": 2300.0},
}


def burst_file(path: Path, hertz: float) -> None:
    """Silence, 0.3 s of a tone, 0.5 s of silence, 0.2 s of the tone, silence."""
    silence = np.zeros(8000)
    sound = [silence[:1600], tone(0.3, 16000, hertz), silence, tone(0.2, 16000, hertz), silence]
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.concatenate(sound), 16000)


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes and backgrounds in FLAC, Ogg and WAV; two takes of the first recording."""
    folder = tmp_path_factory.mktemp("bank")
    for label, pitches in PITCHES.items():
        for group, hertz in pitches.items():
            # The second class's name is in the form in which some file systems have it.
            own = folder / "foreground" / unicodedata.normalize("NFD", label)
            burst_file(own / f"{group}-A.flac", hertz)
    burst_file(folder / "foreground/Ding/1-dog-B.wav", PITCHES["Ding"]["1-dog"])
    (folder / "foreground/Ding/notes.txt").write_text("no audio")
    rng = np.random.default_rng(0)
    for number, ending in enumerate(("ogg", "wav", "flac")):
        path = folder / f"background/room/{(1, 3, 5)[number]}-{number}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.01 * rng.standard_normal(12000), 16000)
    for name in ("1-dog-C", "5-13-B", "7-99-A"):
        burst_file(folder / f"given/Ding/{name}.wav", 600.0)
    return folder


@pytest.fixture(scope="module")
def made(bank: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set of the bank, with fold 5 as its test, through the command line."""
    out = tmp_path_factory.mktemp("made") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(generate.SIZES, "tiny", SIZES)
        arguments = ["--size", "tiny", "--workers", "1", "--test_groups", "^5-"]
        given = ["--weak", str(bank / "given"), "--unlabelled", str(bank / "given/Ding")]
        main(["--output", str(out), "--soundbank", str(bank), *arguments, *given])
    return out


def heard_recordings(made: Path, set_name: str) -> set[str]:
    """The recordings whose pitch is the strongest of its class within some event of a set."""
    clip_set = BY_NAME[set_name]
    found = set()
    for row in pd.read_csv(made / clip_set.table, sep="\t").dropna().itertuples():
        audio, rate = soundfile.read(made / clip_set.audio / row.filename, always_2d=True)
        section = audio[int(row.onset * rate) : int(row.offset * rate), 0]
        time = np.arange(len(section)) / rate
        window = np.hanning(len(section))
        strength = {
            group: abs(np.sum(section * window * np.exp(-2j * np.pi * hertz * time)))
            for group, hertz in PITCHES[row.event_label].items()
        }
        found.add(max(strength, key=lambda group: strength[group]))
    return found


def test_no_recording_is_heard_in_two_splits(made: Path) -> None:
    train, validation, test = (
        heard_recordings(made, name) for name in ("synthetic", "synthetic validation", "test")
    )
    assert test == {"5-13", "5-23"}
    assert train
    assert validation
    assert not train & validation
    table = pd.read_csv(made / "metadata/soundbank.tsv", sep="\t")
    assert (table.groupby("group").split.nunique() == 1).all()
    assert set(table[table.split == "train"].group) >= train
    assert len(table) == 4 + 1 + 3 + 3


def test_events_are_the_bursts(made: Path) -> None:
    table = pd.read_csv(made / "metadata/train/synthetic21_train/soundscapes.tsv", sep="\t")
    lengths = (table.offset - table.onset).to_numpy()
    distance = np.abs(lengths[:, None] - np.array([0.2, 0.3])).min(axis=1)
    assert len(lengths) > 6
    assert distance.max() < 0.03


def test_given_recordings_are_clips_unless_they_are_the_tests(made: Path) -> None:
    weak = pd.read_csv(made / "metadata/train/weak.tsv", sep="\t")
    assert list(weak.event_labels) == ["Ding", "Ding"][: len(weak)]
    table = pd.read_csv(made / "metadata/soundbank.tsv", sep="\t")
    dog_trains = (table[table.group == "1-dog"].split == "train").all()
    assert len(weak) == 1 + dog_trains
    assert all(soundfile.info(path).duration == 10 for path in made.glob("audio/train/weak/*"))
    unlabelled = sorted(made.glob("audio/train/unlabel_in_domain/*"))
    assert len(unlabelled) == len(weak)
    assert {soundfile.info(path).duration for path in unlabelled} == {1.6}


def test_the_configuration_names_what_was_made(made: Path) -> None:
    config = load_config(made / "conf.yaml")
    assert list(config.data.classes) == list(PITCHES)
    assert config.postprocess.median_window == {"default": 3}
    assert not config.cross_task.excluded_classes
    paths = config.data.paths()
    made_later = {key for key, path in paths.items() if path.endswith("_16k")}
    assert all(Path(path).exists() for key, path in paths.items() if key not in made_later)
    # The set `eval` has no clips.
    assert config.data.sets.keys() == SIZES.keys() - {"eval"}


def test_bursts_have_the_times_of_a_hand_made_signal() -> None:
    second = SAMPLE_RATE
    audio = np.zeros(3 * second, dtype=np.float32)
    audio += 1e-3 * np.random.default_rng(0).standard_normal(len(audio)).astype(np.float32)
    wave = tone(1.0, second).astype(np.float32)
    for start, stop in ((0.5, 0.8), (1.0, 1.1), (2.0, 2.5)):
        first, end = round(start * second), round(stop * second)
        audio[first:end] += wave[: end - first]
    audio[round(1.5 * second) : round(1.51 * second)] += 0.3 * wave[:441]  # a click
    for pause, expected in (
        (0.1, [(0.5, 0.8), (1.0, 1.1), (2.0, 2.5)]),
        (0.3, [(0.5, 1.1), (2.0, 2.5)]),
        (np.inf, [(0.5, 2.5)]),
    ):
        found = np.array(bursts(audio, pause)) / second
        np.testing.assert_allclose(found, expected, atol=0.006)
    assert not bursts(np.zeros(5000, dtype=np.float32), 0.2)


def shaped_noise(samples: int, rate: int, gain: NDArray[np.float64]) -> NDArray[np.float64]:
    """Noise with linear gains on a frequency axis from 0 to half the rate."""
    spectrum = np.fft.rfft(np.random.default_rng(1).standard_normal(samples))
    axis = np.linspace(0, 1, len(gain))
    return 0.05 * np.fft.irfft(
        spectrum * np.interp(np.linspace(0, 1, len(spectrum)), axis, gain), samples
    )


def test_bandwidth_is_where_a_filter_cut(tmp_path: Path) -> None:
    axis = np.linspace(0, 22050, 2000)
    dark = 10.0 ** (-axis / 22050 * 70 / 20)  # falls by 70 dB, as many sounds do
    for name, gain, expected in (
        ("white", np.ones(2000), 22050.0),
        ("dark", dark, 22050.0),
        ("cut", np.where(axis < 7000, dark, 0.0), 7000.0),
    ):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, shaped_noise(88200, 44100, gain), 44100)
        assert bandwidth(path) == pytest.approx(expected, abs=700), name


def test_low_pass_removes_what_is_above() -> None:
    audio = (tone(0.5, SAMPLE_RATE, 3000.0) + tone(0.5, SAMPLE_RATE, 9000.0)).astype(np.float32)
    spectrum = np.abs(np.fft.rfft(low_passed(audio, 8000.0) * np.hanning(len(audio))))
    assert spectrum[4500] < 1e-3 * spectrum[1500]
    kept = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))[1500]
    assert spectrum[1500] == pytest.approx(kept, rel=0.05)


def test_a_short_background_fills_a_clip_without_gaps() -> None:
    background = tone(0.7, SAMPLE_RATE).astype(np.float32)
    filled = looped(np.random.default_rng(0), background, 3 * SAMPLE_RATE)
    power = np.sqrt(np.mean(filled.reshape(-1, 441) ** 2, axis=1))
    assert len(filled) == 3 * SAMPLE_RATE
    assert power.min() > 0.1


def test_a_continuous_sound_is_cut_to_any_length(tmp_path: Path) -> None:
    path = tmp_path / "motor.wav"
    soundfile.write(path, tone(3.0, SAMPLE_RATE), SAMPLE_RATE)
    sounds = RecordedSounds({"Motor": [[Section(path, 0, 3 * SAMPLE_RATE, True)]]}, (), 22050.0)
    rng = np.random.default_rng(0)
    lengths = [sounds.draw_length(rng, "Motor", 2.5) for _ in range(50)]
    assert 1.0 <= min(lengths) < 1.3
    assert 2.2 < max(lengths) <= 2.5
    event = sounds.event(Draw(rng, SYNTHETIC), "Motor", 50000)
    assert len(event) == pytest.approx(50000, abs=440)


def test_splits_keep_groups_and_serve_every_class() -> None:
    shared = ["a", "b", "c"]
    kinds = {"One": [*shared, "d", "d"], "Two": [*shared, *(f"g{n}" for n in range(37))]}
    for seed in range(20):
        splits = split_soundbank(kinds, seed)
        for groups in kinds.values():
            assert {splits[group] for group in groups} == set(SPLITS)
        share = np.mean([splits[group] == TEST for group in kinds["Two"]])
        assert 0.1 < share < 0.3
    assert split_soundbank(kinds, 3) == split_soundbank(kinds, 3)
    assert len({tuple(split_soundbank(kinds, seed).items()) for seed in range(5)}) > 1


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("1-100032-A.ogg", "1-100032"),
        ("dog_b.wav", "dog"),
        ("dog_12.wav", "dog_12"),
        ("a.wav", "a"),
    ],
)
def test_a_take_letter_is_no_part_of_the_group(name: str, group: str) -> None:
    assert by_take_letter(Path(name)) == group


def test_two_folders_can_have_the_name_of_a_class(tmp_path: Path) -> None:
    for name in ("B\u00e4r/x.wav", "Ba\u0308r/y.wav"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    found = class_files(tmp_path)
    assert list(found) == ["B\u00e4r"]
    assert {path.name for path in found["B\u00e4r"]} == {"x.wav", "y.wav"}
    (tmp_path / "a,b").mkdir()
    with pytest.raises(InputError, match="a,b: name of the folder: expected a name without commas"):
        class_files(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--weak", "w"), "--weak: expected --soundbank as well, got none"),
        (("--soundbank", "{bank}/background"), "foreground: cannot be read: No such file"),
        (("--soundbank", "{bank}", "--test_groups", "("), "--test_groups: expected a regular exp"),
        (("--soundbank", "{bank}", "--test_groups", "^9"), "expected an expression that matches"),
        (("--soundbank", "{bank}", "--group", "^x(.)"), "--group: expected a name that matches"),
        (("--soundbank", "{bank}", "--group", r"\."), "expected recordings in each of train, val"),
        (("--soundbank", "{bank}", "--groups", "{bank}/none.tsv"), "none.tsv: cannot be read"),
        (("--soundbank", "{bank}", "--bandwidth", "9"), "--bandwidth: expected 1000 to 22050 Hz"),
        (("--soundbank", "{bank}", "--pause", "x"), "--pause: expected seconds or CLASS=seconds"),
        (("--soundbank", "{bank}", "--pause", "Cat=1"), "--pause: expected classes of"),
        (
            ("--soundbank", "{bank}", "--weak", "{bank}/foreground/.."),
            "expected folders named as the soundbank's classes",
        ),
    ],
)
def test_bad_arguments_are_refused(
    arguments: tuple[str, ...], message: str, bank: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        main(
            [
                "--output",
                str(tmp_path / "out"),
                "--size",
                "tiny",
                *(text.format(bank=bank) for text in arguments),
            ]
        )
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())
