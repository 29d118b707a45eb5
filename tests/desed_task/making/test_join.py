"""Clips joined to one recording."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from desed_task.dataio.annotations import read_durations, read_strong
from desed_task.errors import InputError
from desed_task.labels import Event
from desed_task.making.join import main

HEADER = "filename\tonset\toffset\tevent_label\n"
EVENTS = (
    "a.wav\t0.500\t1.000\tDog\n"
    "a.wav\t0.800\t1.200\tCat\n"
    "b.wav\t0.000\t0.250\tDog\n"
    "c.wav\t\t\t\n"
    "d.wav\t0.250\t9.000\tCat\n"
)


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    for number, (name, samples) in enumerate({"a": 8, "b": 4, "c": 8, "d": 8}.items()):
        soundfile.write(tmp_path / f"{name}.wav", np.full(samples, number / 8), 8, subtype="PCM_16")
    (tmp_path / "events.tsv").write_text(HEADER + EVENTS)
    given = {"audio": tmp_path, "events": tmp_path / "events.tsv", "output": tmp_path / "joined"}
    return [f"--{name}={path}" for name, path in given.items()]


def test_events_follow_their_clips(arguments: list[str], tmp_path: Path) -> None:
    """a takes 0 to 1 s, b to 1.5, c to 2.5, d to 3.5; Dog touches across a and b."""
    main([*arguments, "--seconds=60"])
    joined = tmp_path / "joined"
    audio, rate = soundfile.read(joined / "recording.wav")
    assert rate == 8
    np.testing.assert_array_equal(audio, np.repeat([0, 1 / 8, 2 / 8, 3 / 8], [8, 4, 8, 8]))
    assert read_durations(joined / "recording_durations.tsv") == {"recording.wav": 3.5}
    assert read_strong(joined / "recording.tsv", ("Cat", "Dog")) == {
        "recording.wav": [
            Event(0.5, 1.25, "Dog"),
            Event(0.8, 1.0, "Cat"),
            Event(2.75, 3.5, "Cat"),
        ]
    }


def test_as_many_clips_as_the_length_needs(arguments: list[str], tmp_path: Path) -> None:
    main([*arguments, "--seconds=1.5"])
    lengths = read_durations(tmp_path / "joined" / "clips_durations.tsv")
    assert lengths == {"a.wav": 1.0, "b.wav": 0.5}
    events = read_strong(tmp_path / "joined" / "clips.tsv", ("Cat", "Dog"))
    assert events["a.wav"] == [Event(0.5, 1.0, "Dog"), Event(0.8, 1.2, "Cat")]


def test_clips_of_two_rates_are_refused(arguments: list[str], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "b.wav", np.zeros(4), 16)
    with pytest.raises(InputError, match=r"one sample rate, got a\.wav 8 Hz, b\.wav 16 Hz"):
        main(arguments)
    with pytest.raises(InputError, match="--seconds: expected more than 0, got nan"):
        main([*arguments, "--seconds=nan"])


def test_an_onset_past_the_end_of_a_clip_is_refused(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "events.tsv").write_text(HEADER + "a.wav\t500\t900\tDog\n")
    with pytest.raises(InputError, match=r"a\.wav: onset: .* 1 s, got 500 \(milliseconds\?\)"):
        main(arguments)
