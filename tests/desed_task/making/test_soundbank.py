"""Scenes from isolated recordings: splits, times, bandwidth, given clips, configuration."""

import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from desed_task.desed import BY_NAME
from desed_task.errors import InputError
from desed_task.making.soundbank import BankOptions, read_soundbank
from desed_task.synthesis.recorded import read_sound
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
    # The bursts last 0.2 and 0.3 s.
    assert config.grid.frame_seconds == 0.032
    assert (config.feats.n_window, config.net.time_pooling) == (1024, 1)
    assert config.training.train_sets == ("synthetic", "weak", "unlabelled")
    assert not config.cross_task.excluded_classes
    paths = config.data.paths()
    made_later = {key for key, path in paths.items() if path.endswith("_16k")}
    assert all(Path(path).exists() for key, path in paths.items() if key not in made_later)
    # The set `eval` has no clips.
    assert config.data.sets.keys() == SIZES.keys() - {"eval"}


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (["--soundbank={bank}/background"], "{bank}/background/foreground"),
        (["--test_groups=("], "--test_groups"),
        (["--test_groups=^9"], "--test_groups"),
        (["--group=^x(.)"], "--group"),
        ([r"--group=\."], "expected recordings in each of train, validation, test"),
        (["--groups={bank}/none.tsv"], "{bank}/none.tsv"),
        (["--group=x", "--groups=y"], "--group, --groups"),
        (["--bandwidth=9"], "--bandwidth"),
        (["--pause=x"], "--pause"),
        (["--pause=Cat=1"], "--pause"),
        (["--weak={bank}/foreground/.."], "--weak"),
    ],
)
def test_mistakes_name_their_place(
    arguments: list[str], place: str, bank: Path, tmp_path: Path
) -> None:
    given = [f"--output={tmp_path / 'out'}", f"--soundbank={bank}", "--size=tiny"]
    with pytest.raises(InputError) as caught:
        main([*given, *(text.format(bank=bank) for text in arguments)])
    assert place.format(bank=bank) in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_channels_of_a_bank(bank: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A stereo recording of opposite polarity has its events, with one warning; or one channel."""
    folder = tmp_path / "bank"
    shutil.copytree(bank, folder)
    path = folder / "foreground" / "Ding" / "1-dog-B.wav"
    audio, rate = soundfile.read(path)
    soundfile.write(path, np.stack([audio, -0.9 * audio], axis=1), rate)
    options = BankOptions(test_groups="^5-")
    expected = read_soundbank(bank, 1, options).files
    assert not [r for r in caplog.records if "silent" in r.getMessage()]
    assert [each.group for each in read_soundbank(folder, 1, options).files] == [
        each.group for each in expected
    ]
    assert caplog.text.count("1-dog-B.wav: the mean of the channels is silent") == 1
    peaks = [np.abs(read_sound(path, 8000.0, channel)).max() for channel in (1, 2)]
    assert peaks[1] == pytest.approx(0.9 * peaks[0], rel=1e-3)
    with pytest.raises(InputError, match="channel: expected mix, loudest or a number from 1 to 1"):
        read_soundbank(folder, 1, BankOptions(test_groups="^5-", channel=2))
    with pytest.raises(InputError, match="--channel: expected --soundbank as well, got none"):
        main(["--output", str(tmp_path / "out"), "--channel", "2"])
