"""Detect the sound events of recordings with a model.

    sed-detect --model model recording.wav folder/            (or python -m desed_task.detect)
    arecord -f S16_LE -r 44100 | sed-detect --model model -
    sed-detect --model model --tune labels/ --output tuned_model recordings/

Files may be of any length, rate and number of channels, in WAV, W64, AIFF, AU, CAF, FLAC, Ogg,
Opus or MP3; folders are searched with their subfolders. Results: docs/detect.md.
"""

import argparse
import contextlib
import json
import logging
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from desed_task.dataio.audio import parse_channel
from desed_task.detect.formats import FORMATS, event_values
from desed_task.errors import (
    FAULT,
    INTERRUPTED,
    FaultError,
    InputError,
    Terminated,
    listing,
    named_folders,
    nearest,
    run_cli,
)
from desed_task.files import user_path
from desed_task.making.label_arguments import (
    LABEL_ARGUMENTS,
    add_label_arguments,
    given_label_arguments,
)
from desed_task.options import command_parser
from desed_task.processor import keep_freed_memory, set_thread_waiting

if TYPE_CHECKING:
    from desed_task.detect.detector import Detector, Result
    from desed_task.detect.outputs import Outputs
    from desed_task.detect.settings import Settings

# Imports that take seconds follow inside functions: --help and a mistyped option need none.

STREAM = "-"
OUTPUT = Path("detections")
_TUNING = {
    *("paths", "model", "output", "tune", *LABEL_ARGUMENTS),
    *("overlap", "channel", "batch_size", "device", "precision", "runtime", "workers", "encoder"),
}
"""The options that have an effect with `--tune`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = parse_args(arguments)
    formats = parse_formats(options.format)
    settings = parse_settings(options)
    from desed_task.detect.detector import Detector

    if options.device != "cuda":
        keep_freed_memory()

    detector = Detector(
        options.model,
        settings,
        device=options.device,
        precision=options.precision,
        runtime=options.runtime,
        batch_size=options.batch_size,
        encoder=options.encoder,
    )
    if options.tune is not None:
        return tune(detector, options)
    if options.paths == [STREAM]:
        return detect_stream(detector, options)
    with named_folders({"--output": options.output}, written=options.output):
        return detect_files(detector, options, formats)


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Options of the command line."""
    parser = command_parser("sed-detect", __doc__)
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="files and folders; -: raw PCM or WAV of standard input",
    )
    parser.add_argument("--model", type=user_path, required=True, metavar="DIR")
    parser.add_argument(
        "--encoder",
        metavar="SOURCE",
        help="the encoder of a model that was trained with one: as encoder.source of its training",
    )
    parser.add_argument(
        "--output",
        type=user_path,
        metavar="DIR",
        help=f"folder of the results (default: {OUTPUT}), or of the new model of --tune",
    )
    parser.add_argument(
        "--format",
        default="tsv",
        help=f"one or several of {','.join(FORMATS)}, separated by commas (default: %(default)s)",
    )
    parser.add_argument("--plot", action="store_true", help="draw each recording, NAME.png")
    parser.add_argument(
        "--review",
        action="store_true",
        help="write review.html, a page to listen to the events and correct them",
    )
    parser.add_argument(
        "--review_events",
        type=int,
        default=2000,
        metavar="N",
        help="most events on that page, the most uncertain ones (default: %(default)s)",
    )
    parser.add_argument(
        "--activity",
        action="store_true",
        help="write events per hour of the day, of recordings whose names have date and time "
        "(20240503_071500.WAV): activity.tsv, activity.png",
    )
    parser.add_argument(
        "--threshold",
        metavar="T",
        help="score above which a class is active, of all classes (0.5) or by class "
        "(Speech=0.4,Dog=0.6; default: the model's)",
    )
    parser.add_argument("--classes", metavar="A,B", help="classes to detect (default: all)")
    parser.add_argument(
        "--min_duration", type=float, default=0.0, metavar="S", help="drop shorter events"
    )
    parser.add_argument(
        "--merge_gap",
        type=float,
        default=0.0,
        metavar="S",
        help="join events of a class with a shorter pause between them",
    )
    parser.add_argument(
        "--postprocess",
        choices=["median", "sebbs", "tuned_median"],
        help="method that turns scores into events (default: the model's)",
    )
    parser.add_argument(
        "--overlap",
        type=float,
        default=0.5,
        help="fraction of a window that the next one shares (default: %(default)s)",
    )
    parser.add_argument(
        "--channel",
        type=parse_channel,
        default="mix",
        help="how channels become one: mix (their mean; the loudest where they cancel), loudest, "
        "or a number from 1 on (default: %(default)s)",
    )
    parser.add_argument("--batch_size", type=int, default=16, help="windows (default: 16)")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--precision", choices=["32", "bf16"], default="32")
    parser.add_argument("--runtime", choices=["torch", "onnx"], default="torch")
    parser.add_argument(
        "--workers",
        "--num_workers",
        type=int,
        default=1,
        help="threads that read recordings beside the network (default: 1)",
    )
    parser.add_argument("--force", action="store_true", help="detect again what is done")
    parser.add_argument("--rate", type=int, help="Hz, of raw PCM in - (default: 16000)")
    parser.add_argument("--channels", type=int, help="of raw PCM in - (default: 1)")
    parser.add_argument(
        "--latency",
        type=float,
        default=2.0,
        metavar="S",
        help="seconds of audio after which scores of - are final (default: 2)",
    )
    tuning = parser.add_argument_group("tuning a model on labelled recordings")
    tuning.add_argument(
        "--tune",
        type=user_path,
        metavar="LABELS",
        help="label files, or one table, of PATHs: tune thresholds, windows and confidence, and "
        "write the model with them to --output; nothing is detected",
    )
    add_label_arguments(tuning.add_argument)
    options = parser.parse_args(arguments)
    _check_tuning(parser, options)
    if STREAM in options.paths and len(options.paths) > 1:
        parser.error("PATH: expected - alone, got files beside it")
    if options.workers < 0:
        parser.error(f"--workers: expected at least 0, got {options.workers}")
    if options.review_events < 1:
        parser.error(f"--review_events: expected at least 1, got {options.review_events}")
    if options.review and STREAM in options.paths:
        parser.error("--review: expected files or folders, got -")
    return options


def _check_tuning(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Refuse options that have no effect with `--tune`, or without it."""
    tune = options.tune is not None
    names = sorted(vars(options).keys() - _TUNING) if tune else LABEL_ARGUMENTS
    given = [f"--{n}" for n in names if getattr(options, n) != parser.get_default(n)]
    if given:
        parser.error(f"{', '.join(given)}: expected {'no' if tune else 'only with'} --tune")
    if tune and (options.output is None or options.paths == [STREAM]):
        wanted = "files and folders" if options.output else "--output, the folder of the new model"
        parser.error(f"--tune: expected {wanted}")
    options.output = options.output or OUTPUT


def parse_formats(text: str) -> list[str]:
    """Names of the formats. Raises InputError for an unknown one."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in FORMATS:
            hint = nearest(name, FORMATS)
            raise InputError(f"--format: expected some of {', '.join(FORMATS)}, got {name!r}{hint}")
    return list(dict.fromkeys(names))


def parse_settings(options: argparse.Namespace) -> "Settings":
    """How scores become events. Raises InputError for a threshold that is no number."""
    from desed_task.detect.settings import Settings

    threshold: Any = None
    if options.threshold is not None:
        parts = [part.rpartition("=") for part in options.threshold.split(",")]
        values = [(name.strip(), _number(text)) for name, _, text in parts]
        threshold = values[0][1] if len(values) == 1 and not values[0][0] else dict(values)
        if isinstance(threshold, dict) and ("" in threshold or len(threshold) < len(values)):
            raise InputError(
                "--threshold: expected a number, or CLASS=NUMBER,… with each class once, got "
                f"{options.threshold!r}"
            )
    classes = options.classes and [name.strip() for name in options.classes.split(",")]
    return Settings(
        threshold=threshold,
        classes=classes,
        min_duration=options.min_duration,
        merge_gap=options.merge_gap,
        method=options.postprocess,
        overlap=options.overlap,
        channel=options.channel,
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--threshold: expected a number, got {text!r}") from None


def tune(detector: "Detector", options: argparse.Namespace) -> int:
    """Write a copy of the model that is tuned on labelled recordings; returns the exit status."""
    from desed_task.detect.tuning import tune_model

    with named_folders({"--output": options.output}, written=options.output):
        tune_model(
            detector,
            options.model,
            options.tune,
            [user_path(path) for path in options.paths],
            options.output,
            reading=given_label_arguments(options),
            workers=options.workers,
        )
    return 0


def detect_stream(detector: "Detector", options: argparse.Namespace) -> int:
    """Print a line of JSON per event of standard input; returns the exit status."""
    from desed_task.detect.standard_input import Pcm

    source = Pcm(sys.stdin.buffer, options.rate, options.channels)
    rate, channels = source.format.rate, source.format.channels
    stream = detector.stream(rate, channels, options.latency)

    def show(events: Any) -> None:
        for event in events:
            print(json.dumps(event_values(event), ensure_ascii=False), flush=True)

    try:
        for block in source.blocks():
            show(stream(block))
    except KeyboardInterrupt:
        pass  # the recorder has been stopped, too
    show(stream.finish())
    return 0


def detect_files(detector: "Detector", options: argparse.Namespace, formats: list[str]) -> int:
    """Write the results of files and folders; returns 1 if some could not be read."""
    from tqdm import tqdm

    from desed_task.dataio.bandwidth import Bandwidth
    from desed_task.dataio.recordings import find_recordings
    from desed_task.detect.bands import warn_of_narrow_bands
    from desed_task.detect.outputs import Outputs
    from desed_task.detect.reading import file_blocks
    from desed_task.detect.scoring import Recording

    recordings = find_recordings([user_path(path) for path in options.paths])
    if not recordings:
        raise InputError(f"{', '.join(options.paths)}: no audio files: expected at least 1, got 0")
    outputs = Outputs(options.output, formats, described_settings(detector))
    recordings = outputs.named(recordings)
    waiting = [
        (path, relative)
        for path, relative in recordings
        if options.force
        or not outputs.is_done(path, relative)
        or (options.plot and not pictures(outputs, relative))
        or (options.review and not outputs.knows_missed(relative))
    ]
    if len(waiting) < len(recordings):
        print(
            f"{len(recordings) - len(waiting)} of {len(recordings)} files are done; --force: again"
        )
    rate = detector.description.sample_rate
    channel = detector.settings.channel
    bands: dict[Path, Bandwidth] = {}  # of the recordings that are being read
    bands_hz: dict[str, float] = {}

    def source(path: Path, relative: Path) -> Recording:
        bands[path] = Bandwidth(rate)
        return Recording((path, relative), partial(file_blocks, path, rate, channel, bands[path]))

    sources = (source(*recording) for recording in waiting)
    changed = sum(outputs.is_changed(relative) for _, relative in waiting)
    if changed and not options.force:
        print(f"{changed} files differ from those that were detected, and are detected again")
    problems: dict[Path, str] = {}
    total = math.ceil(_known_seconds([path for path, _ in waiting]))
    n_written, heard = 0, 0.0

    def show(added: float) -> None:
        nonlocal heard
        heard += added
        whole = min(math.ceil(heard - 1e-6), total)  # the lengths of headers are not exact
        bar.update(whole - bar.n)

    with (
        _interrupted(lambda: f"{n_written} of {len(waiting)} files are written: {options.output}"),
        tqdm(total=total, unit="s", desc="audio", smoothing=0.1) as bar,
        contextlib.closing(
            detector.detect(sources, workers=options.workers, progress=show)
        ) as found,
    ):
        for (path, relative), result in found:
            if isinstance(result, InputError | FaultError):
                problems[path] = str(result)
                outputs.remove(path, relative)
                continue
            bands_hz[str(path)] = bands.pop(path).hz
            outputs.write(path, relative, result)
            n_written += 1
            if options.plot:
                write_pictures(detector, outputs, path, relative, result)
        elapsed = bar.format_dict["elapsed"]
    warn_of_narrow_bands(bands_hz, detector.description.features.f_max)
    written = outputs.write_combined()
    written += write_activity(detector, outputs, asked=options.activity)
    if options.review:
        written.append(write_review_page(detector, outputs, options.review_events))
    unreadable = outputs.write_unreadable(
        recordings,
        {path: text.removeprefix(f"{path}: ") for path, text in problems.items()},
    )
    if heard:
        print(f"{heard:.0f} s of audio in {elapsed:.1f} s: real-time factor {elapsed / heard:.4f}")
    print(*(written or [options.output]), sep="\n")
    if problems:
        title = f"{len(problems)} of {len(waiting)} files could not be read, see {unreadable}"
        shown = listing(title, list(problems.values()))
        print(f"error: {shown if len(problems) > 1 else f'{title}: {shown}'}", file=sys.stderr)
    return FAULT if problems else 0


@contextlib.contextmanager
def _interrupted(done: Callable[[], str]) -> Iterator[None]:
    """End after Ctrl-C with a message on what is done."""
    try:
        yield
    except KeyboardInterrupt:
        message = f"interrupted: {done()}; the same command continues"
        raise Terminated(message, INTERRUPTED) from None


def described_settings(detector: "Detector") -> dict[str, Any]:
    """What decides the events, as plain values."""
    description, settings = detector.description, detector.settings
    thresholds = {
        name: threshold
        for name, threshold in zip(description.classes, settings.thresholds, strict=True)
        if threshold != float("inf")
    }
    return {
        "model": f"{description.source}, weights {description.weights_sha256[:12]}, "
        f"post-processing {description.postprocessing.digest}",
        "postprocess": settings.method,
        "threshold": thresholds,
        "min_duration": settings.min_duration,
        "merge_gap": settings.merge_gap,
        "overlap": settings.overlap,
        "channel": settings.channel,
    }


def pictures(outputs: "Outputs", relative: Path) -> list[Path]:
    """The existing pictures of a recording."""
    first = outputs.target(relative, ".png")
    return [first, *sorted(first.parent.glob(f"{first.stem}.*.png"))] if first.is_file() else []


def write_pictures(
    detector: "Detector", outputs: "Outputs", path: Path, relative: Path, result: "Result"
) -> None:
    """Write `NAME.png`, of a long recording also `NAME.2.png` and so on."""
    from desed_task.detect.plots import draw_recording
    from desed_task.detect.reading import file_blocks
    from desed_task.files import write_file

    rate = detector.description.sample_rate
    blocks = partial(file_blocks, path, rate, detector.settings.channel, warn=False)
    drawn = draw_recording(str(relative), blocks, result, detector.model.log_mel, rate)
    for number, picture in enumerate(drawn, start=1):
        ending = ".png" if number == 1 else f".{number}.png"
        target = outputs.target(relative, ending)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_file(target, picture, durable=False)


def write_review_page(detector: "Detector", outputs: "Outputs", most: int) -> Path:
    """Write the review page of all recordings that are done; returns its path."""
    from desed_task.review import choose_places, write_review
    from desed_task.review.detections import detected_places
    from desed_task.review.snippets import SOUNDS, Snippets

    places, others = choose_places(detected_places(outputs.records), most)
    snippets = Snippets(
        outputs.folder / SOUNDS, detector.description.sample_rate, detector.settings.channel
    )
    title = f"Events in {outputs.folder.resolve().name}"
    return write_review(
        outputs.folder, title, places, others, detector.description.classes, snippets
    )


def write_activity(detector: "Detector", outputs: "Outputs", *, asked: bool) -> list[Path]:
    """Write events per hour where they are asked for, otherwise print that they can be had."""
    from desed_task.detect.activity import activity_table, count_activity, recording_start
    from desed_task.files import write_file

    timed = [found for found in outputs.found if recording_start(found.path) is not None]
    if not asked:
        if len(timed) > 1:
            print(
                f"{len(timed)} recordings have their time in the name; --activity: events per hour"
            )
        return []
    if not timed:
        print("--activity: no name of a recording has date and time, as 20240503_071500.WAV has")
        return []
    from desed_task.detect.activity_picture import draw_activity

    activity = count_activity(timed)
    classes = list(described_settings(detector)["threshold"])
    table, picture = (outputs.folder / f"activity{ending}" for ending in (".tsv", ".png"))
    write_file(table, activity_table(activity, classes), durable=False)
    write_file(picture, draw_activity(activity, classes), durable=False)
    return [table, picture]


def _known_seconds(paths: Sequence[Path]) -> float:
    """Length of all files that can be read, from their headers."""
    from desed_task.dataio.audio import estimated_seconds

    total = 0.0
    for path in paths:
        try:
            total += estimated_seconds(path)
        except (InputError, FaultError):
            continue  # is reported when it is read
    return total


def command() -> None:
    """The console script."""
    set_thread_waiting()
    logging.basicConfig(format="warning: %(message)s", level=logging.WARNING)
    run_cli(main)


if __name__ == "__main__":
    command()
