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
        arguments = ["--size=tiny", "--workers=1", "--test_groups=^5-", "--empty_share=0"]
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


def test_clips_of_one_recording_and_of_none(bank: Path, tmp_path: Path) -> None:
    """With `--lone_share 1` each clip of the training is a recording alone; the test is mixed."""
    arguments = ["--size=tiny", "--workers=1", "--test_groups=^5-", f"--soundbank={bank}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(generate.SIZES, "tiny", {**SIZES, "weak": 2, "eval": 2})
        main([f"--output={tmp_path / 'lone'}", "--lone_share=1", "--empty_share=0", *arguments])
        main([f"--output={tmp_path / 'empty'}", "--lone_share=0", "--empty_share=1", *arguments])

    def events(folder: str, set_name: str) -> "pd.Series[int]":
        table = pd.read_csv(tmp_path / folder / BY_NAME[set_name].table, sep="\t")
        return table.groupby("filename").event_label.nunique()

    for name, none in (("synthetic", 6), ("synthetic validation", 4), ("test", 0)):
        assert (events("lone", name) >= 1).all()
        assert (events("empty", name) == 0).sum() == none
    assert (events("lone", "synthetic") == 1).all()
    weak = pd.read_csv(tmp_path / "empty" / BY_NAME["weak"].table, sep="\t")
    assert weak.event_labels.notna().all()  # a clip without a tag is no weak clip
    with pytest.raises(InputError, match="--lone_share, --empty_share: expected at most 1"):
        main([f"--output={tmp_path / 'out'}", "--lone_share=0.9", *arguments])
    with pytest.raises(InputError, match="--empty_share: expected --soundbank as well"):
        main([f"--output={tmp_path / 'out'}", "--empty_share=0.1"])


def copied(bank: Path, folder: Path) -> Path:
    shutil.copytree(bank, folder)
    return folder


def test_silent_recordings_are_dropped_before_the_split(
    bank: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each split has a recording of the class however many silent ones there are."""
    folder = copied(bank, tmp_path / "bank")
    label = unicodedata.normalize("NFD", "Düdel laut")
    for number in range(9):
        path = folder / "foreground" / label / f"{number}-silent{number}.wav"
        soundfile.write(path, np.zeros(8000), 16000)
    for seed in range(3):
        made = read_soundbank(folder, seed, BankOptions())
        assert [each.path.stem for each in made.files if "silent" in each.path.stem] == []
        splits = {each.split for each in made.files if each.kind == "Düdel laut"}
        assert splits == {"train", "validation", "test"}
    assert "9 recordings are silent, not used: 0-silent0.wav" in caplog.text
    for path in (folder / "foreground" / label).glob("*.flac"):
        path.unlink()
    with pytest.raises(InputError, match="Düdel laut: expected recordings with sound, got 9"):
        read_soundbank(folder, 1, BankOptions())


def test_one_narrow_recording_does_not_limit_the_others(
    bank: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It would silence a class of high sounds, as `--bandwidth` does, with a message."""
    folder = copied(bank, tmp_path / "bank")
    for number in range(3):
        burst_file(folder / f"foreground/Insect/{number}-3{number}.wav", 5000.0)
    path = folder / "foreground" / "Ding" / "1-dog-B.wav"
    audio, _ = soundfile.read(path)
    soundfile.write(path, audio[::4], 4000)
    made = read_soundbank(folder, 1, BankOptions())
    rows = [line.split("\t") for line in made.table().splitlines()]
    assert rows[0] == ["filename", "kind", "group", "split", "bandwidth", "sounds"]
    by_name = {row[0]: row for row in rows}
    assert by_name["1-dog-B.wav"][4:] == ["2000", "2"]
    assert by_name["0-30.wav"][1] == "Insect"
    assert "1-dog-B.wav (2000 Hz)" in made.bandwidths()
    assert not caplog.text
    with pytest.raises(InputError) as caught:
        read_soundbank(folder, 1, BankOptions(bandwidth_hz=2000.0))
    assert "Insect: expected recordings with sound below --bandwidth 2000" in str(caught.value)
    assert "0-30.wav" in caplog.text
    for each in (folder / "foreground" / "Ding").iterdir():
        if each.suffix in (".flac", ".wav"):
            audio, _ = soundfile.read(each)
            each.unlink()
            soundfile.write(each.with_suffix(".wav"), audio[::4], 4000)
    read_soundbank(folder, 1, BankOptions())
    assert "of Ding (2000 Hz)" in caplog.text
    assert "(--bandwidth 2000 limits all recordings)" in caplog.text


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
