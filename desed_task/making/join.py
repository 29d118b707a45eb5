"""Join annotated clips to one long recording with its events.

    python -m desed_task.making.join --audio demo_data/audio/validation/validation_16k \
        --events demo_data/metadata/validation/validation.tsv --seconds 60 --output joined

A detector that reads long recordings must find in the joined one what it finds in the clips.
"""

import argparse
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from desed_task.dataio.annotations import merge_overlaps, read_classes, read_strong
from desed_task.dataio.audio import audio_info, read_audio
from desed_task.dataio.prepare import to_16_bit
from desed_task.errors import InputError, run_cli, shortened
from desed_task.files import user_path, write_file
from desed_task.labels import Event

RECORDING = "recording.wav"


class PlacedClip(NamedTuple):
    """A clip in the recording: file name, first second, length in seconds, its own events."""

    name: str
    start: float
    seconds: float
    events: tuple[Event, ...]


def place_clips(
    folder: Path, events: Mapping[str, Sequence[Event]], seconds: float
) -> list[PlacedClip]:
    """The first clips, by name, that together reach `seconds`, one after the other; all if few.

    Raises InputError for clips without audio, onsets past a clip's end, and different sample rates.
    """
    placed: list[PlacedClip] = []
    end = 0.0
    rates: dict[int, str] = {}
    for name in sorted(events):
        if end >= seconds:
            break
        info = audio_info(folder / name)
        rates.setdefault(info.sample_rate, name)
        late = [event for event in events[name] if event.onset >= info.seconds]
        if late:
            raise InputError(
                f"{name}: onset: expected less than the clip's {info.seconds:g} s, got "
                f"{late[0].onset:g} (milliseconds?)"
            )
        placed.append(PlacedClip(name, end, info.seconds, tuple(events[name])))
        end += info.seconds
    if len(rates) > 1:
        found = [f"{name} {rate} Hz" for rate, name in rates.items()]
        raise InputError(f"--audio {folder}: expected one sample rate, got {shortened(found)}")
    return placed


def joined_events(clips: Sequence[PlacedClip]) -> list[Event]:
    """Events of the recording in time order; those of a class that overlap or touch are one."""
    moved = (
        Event(clip.start + onset, clip.start + min(offset, clip.seconds), label)
        for clip in clips
        for onset, offset, label in clip.events
    )
    return merge_overlaps(moved, longest_gap=1e-6)


def join_clips(folder: Path, events_file: Path, seconds: float, output: Path) -> None:
    """Write `recording.wav`, its events and duration, and the tables of its clips.

    Args:
        folder: audio of the clips, of one sample rate.
        events_file: their events.
        seconds: least length of the recording; shorter where there are fewer clips.
        output: a folder, made where it is missing.
    """
    clips = place_clips(folder, read_strong(events_file, read_classes(events_file)), seconds)
    rate = audio_info(folder / clips[0].name).sample_rate
    audio = np.concatenate([read_audio(folder / clip.name, rate) for clip in clips])
    content = io.BytesIO()
    soundfile.write(content, to_16_bit(audio), rate, subtype="PCM_16", format="WAV")
    output.mkdir(parents=True, exist_ok=True)
    write_file(output / RECORDING, content.getvalue())
    whole = [PlacedClip(RECORDING, 0.0, len(audio) / rate, tuple(joined_events(clips)))]
    for name, placed in (("recording", whole), ("clips", clips)):
        write_file(output / f"{name}.tsv", _table(_event_rows(placed)))
        lengths = [("filename", "duration"), *((c.name, f"{c.seconds:.3f}") for c in placed)]
        write_file(output / f"{name}_durations.tsv", _table(lengths))


def _event_rows(clips: Sequence[PlacedClip]) -> Iterator[tuple[str, ...]]:
    yield "filename", "onset", "offset", "event_label"
    for clip in clips:
        for onset, offset, label in clip.events:
            yield clip.name, f"{onset:.3f}", f"{offset:.3f}", label
        if not clip.events:
            yield clip.name, "", "", ""


def _table(rows: Iterator[tuple[str, ...]] | Sequence[tuple[str, ...]]) -> str:
    return "".join("\t".join(row) + "\n" for row in rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and join the clips."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--audio", type=user_path, required=True, help="folder of the clips")
    parser.add_argument("--events", type=user_path, required=True, help="their events (DESED TSV)")
    parser.add_argument("--seconds", type=float, default=60, help="least length (default: 60)")
    parser.add_argument(
        "--output",
        type=user_path,
        required=True,
        help="folder of recording.wav, recording.tsv, recording_durations.tsv; clips.tsv and "
        "clips_durations.tsv are the tables of the clips that it has",
    )
    options = parser.parse_args(arguments)
    if not options.seconds > 0:
        raise InputError(f"--seconds: expected more than 0, got {options.seconds:g}")
    join_clips(options.audio, options.events, options.seconds, options.output)


if __name__ == "__main__":
    run_cli(main)
