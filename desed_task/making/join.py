"""Join annotated clips to one long recording with its events.

    python -m desed_task.making.join --audio demo_data/audio/validation/validation_16k \
        --events demo_data/metadata/validation/validation.tsv --seconds 60 --output joined

A detector that reads long recordings must find in the joined one what it finds in the clips.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from desed_task.dataio.annotations import merge_overlaps, read_classes, read_strong
from desed_task.dataio.audio import audio_info, read_audio, to_16_bit, wav_bytes
from desed_task.dataio.recordings import clip_path
from desed_task.errors import InputError, run_cli, shortened
from desed_task.files import user_path, write_file
from desed_task.labels import Event
from desed_task.making.layout import ClipRecord, durations_table, strong_table
from desed_task.options import command_parser

RECORDING = "recording.wav"


def first_clips(
    folder: Path, events: Mapping[str, Sequence[Event]], seconds: float
) -> list[ClipRecord]:
    """The first clips, by name, that together reach `seconds`; all if they are few.

    Raises InputError for clips without audio, onsets past a clip's end, and different sample rates.
    """
    clips: list[ClipRecord] = []
    rates: dict[int, str] = {}
    for name in sorted(events):
        if sum(clip.duration for clip in clips) >= seconds:
            break
        info = audio_info(clip_path(folder, name))
        rates.setdefault(info.sample_rate, name)
        late = [event for event in events[name] if event.onset >= info.seconds]
        if late:
            raise InputError(
                f"{name}: onset: expected less than the clip's {info.seconds:g} s, got "
                f"{late[0].onset:g} (milliseconds?)"
            )
        clips.append(ClipRecord(name, info.seconds, tuple(events[name])))
    if len(rates) > 1:
        found = [f"{name} {rate} Hz" for rate, name in rates.items()]
        raise InputError(f"--audio {folder}: expected one sample rate, got {shortened(found)}")
    return clips


def joined_events(clips: Sequence[ClipRecord]) -> list[Event]:
    """Events of the recording in time order; those of a class that overlap or touch are one."""
    moved: list[Event] = []
    start = 0.0
    for clip in clips:
        for onset, offset, label in clip.events:
            moved.append(Event(start + onset, start + min(offset, clip.duration), label))
        start += clip.duration
    return merge_overlaps(moved, longest_gap=1e-6)


def join_clips(folder: Path, events_file: Path, seconds: float, output: Path) -> None:
    """Write `recording.wav`, its events and duration, and the tables of its clips.

    Args:
        folder: audio of the clips, of one sample rate.
        events_file: their events.
        seconds: least length of the recording; shorter where there are fewer clips.
        output: a folder, made where it is missing.
    """
    clips = first_clips(folder, read_strong(events_file, read_classes(events_file)), seconds)
    rate = audio_info(clip_path(folder, clips[0].filename)).sample_rate
    audio = np.concatenate([read_audio(clip_path(folder, clip.filename), rate) for clip in clips])
    whole = ClipRecord(RECORDING, len(audio) / rate, tuple(joined_events(clips)))
    output.mkdir(parents=True, exist_ok=True)
    write_file(output / RECORDING, wav_bytes(to_16_bit(audio), rate))
    for name, records in (("recording", [whole]), ("clips", clips)):
        write_file(output / f"{name}.tsv", strong_table(records))
        write_file(output / f"{name}_durations.tsv", durations_table(records))


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and join the clips."""
    parser = command_parser("python -m desed_task.making.join", __doc__)
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
