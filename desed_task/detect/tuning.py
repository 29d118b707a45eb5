"""Post-processing and calibration of a model, tuned on a few labelled recordings.

The weights do not change. The recordings are scored once; `tuned_median` and `sebbs` are tuned on
the scores and compared, by cross-validation over the recordings, with the model's unchanged
post-processing. The chosen one is the default of a copy of the model.
"""

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from desed_task.dataio.bandwidth import Bandwidth
from desed_task.dataio.recordings import find_recordings
from desed_task.detect.detector import Detector
from desed_task.detect.reading import file_blocks
from desed_task.detect.scoring import Probabilities, Recording
from desed_task.detect.settings import known_classes
from desed_task.errors import InputError, listing, shortened
from desed_task.evaluation.decode import frame_times
from desed_task.evaluation.outputs import Scores
from desed_task.evaluation.truth import GroundTruth
from desed_task.files import atomic_folder, check_new_folder
from desed_task.labels import Event
from desed_task.making.collect import annotated
from desed_task.making.cutting import Annotated, clip_events
from desed_task.making.label_files import LabelOptions, LabelReader
from desed_task.model import ModelDescription
from desed_task.model.folder import DESCRIPTION_FILE, WEIGHTS_FILE, write_description
from desed_task.model.graphs import ONNX_FILE, TORCH_FILE
from desed_task.postprocess.methods import (
    MEDIAN,
    SEBBS,
    TUNED_MEDIAN,
    MedianParameters,
    Method,
    Parameters,
    Postprocessing,
    TunedParameters,
    compared,
)
from desed_task.postprocess.selection import Tuned, tune_methods
from desed_task.postprocess.tuning import TuningSettings
from desed_task.tables import aligned_text

SETTINGS = TuningSettings(
    choose_method=True,
    calibrate_confidence=True,
    tuning_metric="event_f1_psds1",
    tuning_shrinkage=20.0,
    window_unit="seconds",
    tuning_windows=(0.01, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0),
    sebbs_step=(0.1, 0.2, 0.32, 0.48, 0.64, 1.0),
    sebbs_merge_absolute=(0.15, 0.2, 0.3),
    sebbs_merge_relative=(1.5, 2.0, 3.0),
)
DEFAULT_THRESHOLD = 0.5  # where no event is found
UNCHANGED = "unchanged"  # the name of the model's own post-processing in the comparison
_COPIED = (WEIGHTS_FILE, ONNX_FILE, TORCH_FILE)


class Sections(NamedTuple):
    """The labelled sections of recordings as clips: scores, events, and the recording of each."""

    scores: Scores
    truth: GroundTruth
    recordings: list[str]


def tune_model(
    detector: Detector,
    folder: Path,
    labels: Path,
    paths: Sequence[Path],
    output: Path,
    *,
    reading: Mapping[str, Any],
    workers: int = 1,
) -> None:
    """Write a copy of a model with post-processing tuned on labelled recordings; print both.

    Args:
        detector: of the model; its settings decide channels and overlap.
        folder: of the model.
        labels: label files or a table, as `local.collect` reads them.
        paths: recordings, and folders of recordings; those without labels are not used.
        output: folder of the new model.
        reading: further values of `LabelOptions`.
        workers: threads that read recordings.

    Raises InputError for labels that cannot be used, recordings that cannot be read, and an
    existing output.
    """
    check_new_folder("--output", output)
    found = labelled_recordings(labels, paths, detector.description, reading)
    sections = score_sections(detector, found, workers)
    description = detector.description
    before = description.postprocessing
    parameters = before.parameters(before.method)
    assert parameters is not None  # the model's default has parameters
    tuned = tune_methods(
        sections.scores,
        sections.truth,
        SETTINGS,
        methods=[TUNED_MEDIAN, SEBBS],
        fixed={UNCHANGED: parameters},
        default_threshold=DEFAULT_THRESHOLD,
        title="post-processing",
        groups=sections.recordings,
    )
    after = tuned_postprocessing(before, tuned)
    source = f"{description.source}; post-processing tuned on {len(found)} recordings"
    changed = description.model_copy(update={"postprocessing": after, "source": source})
    with atomic_folder(output) as partial_folder:
        for name in _COPIED:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, partial_folder / name)
        write_description(partial_folder, changed)
    for line in (
        f"{len(found)} labelled recordings, {sum(sections.truth.durations.values()):.0f} s",
        comparison_table(description, after, sections.truth),
        *remarks(tuned, after),
        f"{output / DESCRIPTION_FILE}",
    ):
        print(line)


def labelled_recordings(
    labels: Path, paths: Sequence[Path], model: ModelDescription, reading: Mapping[str, Any]
) -> list[Annotated]:
    """The recordings that have labels, with their events.

    Raises InputError for labels that are no events of the model's classes, and for recordings
    that cannot be read.
    """
    recordings = dict(find_recordings(paths))
    if not recordings:
        raise InputError(f"{shortened(paths)}: no audio files: expected at least 1, got 0")
    options = LabelOptions(**{"option": "--tune", "audio": "PATH", **reading})
    reader = LabelReader(recordings, options)
    found = reader.read(labels)
    if reader.unreadable:
        raise InputError(listing("PATH", sorted(reader.unreadable.values())))
    used = annotated(recordings, found, lambda path: path.as_posix(), reader.reviewed)
    tagged = [each.relative.as_posix() for each in used if each.tags]
    if tagged:
        raise InputError(
            f"--tune {labels}: expected events with onset and offset, got labels of whole "
            f"recordings: {shortened(tagged)}"
        )
    known_classes(sorted({name for each in used for name in each.classes}), "--tune", model)
    n_events = sum(len(each.events) for each in used)
    if not n_events:
        raise InputError(f"--tune {labels}: expected at least 1 event, got 0")
    for note in reader.notes:
        print(note)
    for text, number in reader.counts.items():
        if number:
            print(f"{number} {text}")
    return used


def score_sections(detector: Detector, found: Sequence[Annotated], workers: int = 1) -> Sections:
    """Scores before post-processing of the labelled sections of recordings, and their events.

    Raises InputError for a recording that cannot be read.
    """
    rate, channel = detector.description.sample_rate, detector.settings.channel
    sources = (
        Recording(n, partial(file_blocks, each.path, rate, channel, Bandwidth(rate)))
        for n, each in enumerate(found)
    )
    scored: dict[int, Probabilities] = {}
    for number, result in tqdm(
        detector.score(sources, workers=workers), total=len(found), unit="recording", desc="scoring"
    ):
        if not isinstance(result, Probabilities):
            raise result
        scored[number] = result
    values, axes, names, recordings = [], [], [], []
    events: dict[str, list[Event]] = {}
    durations: dict[str, float] = {}
    for number, each in enumerate(found):
        result = scored[number]
        corrected = detector.corrected(result)
        grid, seconds = result.grid, result.seconds
        for begin, end in each.sections or ((0.0, seconds),):
            first, last = grid.onset_to_frame(begin), grid.offset_to_frame(min(end, seconds))
            if last <= first:
                continue
            times = np.minimum(frame_times(grid, grid.n_frames)[first : last + 1], seconds)
            start, stop = float(times[0]), float(times[-1])
            name = f"{each.path.as_posix()} {start:.3f}"
            events[name] = list(clip_events(each, start, stop))
            durations[name] = stop - start
            values.append(corrected[:, first:last])
            axes.append(times - start)
            names.append(name)
            recordings.append(each.group)
    truth = GroundTruth(detector.description.classes, events, durations)
    return Sections(Scores.from_clips(values, names, axes), truth, recordings)


def tuned_postprocessing(before: Postprocessing, tuned: Tuned) -> Postprocessing:
    """The new post-processing of a model: the method that was rated best is its default.

    Where methods could not be compared, the default is the tuned form of the model's method.
    """
    best: Any = tuned.best(SETTINGS)
    method: Method = before.method if best == UNCHANGED else best
    if best is None:
        method = SEBBS if before.method == SEBBS else TUNED_MEDIAN
    parameters: dict[Any, Any] = dict(tuned.parameters)
    calibration: dict[Any, Any] = dict(tuned.calibration)
    unchanged = calibration.pop(UNCHANGED)
    if best == UNCHANGED:
        calibration[before.method] = unchanged
        if before.method != MEDIAN:
            parameters[before.method] = before.parameters(before.method)
    elif before.method == MEDIAN:
        calibration[MEDIAN] = unchanged
    selection = tuned.selection(None if best is None else method, SETTINGS)
    found = TunedParameters(**parameters, selection=selection, calibration=calibration)
    return Postprocessing(method=method, median=before.median, tuned=found)


def comparison_table(model: ModelDescription, after: Postprocessing, truth: GroundTruth) -> str:
    """Events, old and new parameters of each class, as text."""
    counts = dict.fromkeys(model.classes, 0)
    for events in truth.events.values():
        for event in events:
            counts[event.event_label] += 1
    frame = model.grid.frame_seconds
    rows = [
        (
            name,
            counts[name],
            *(
                _parameter_text(each.parameters(each.method), name, frame)
                for each in (model.postprocessing, after)
            ),
        )
        for name in model.classes
    ]
    titles = (f"before: {model.postprocessing.method}", f"now: {after.method}")
    return aligned_text(("class", "events", *titles), rows)


def _parameter_text(parameters: Parameters | None, name: str, frame_seconds: float) -> str:
    assert parameters is not None
    threshold = parameters.f1_threshold
    shown = f"threshold {threshold[name] if isinstance(threshold, dict) else threshold:.2f}"
    if isinstance(parameters, MedianParameters):
        return f"{shown}, window {parameters.window[name] * frame_seconds:.3g} s"
    merging = {
        "difference": parameters.merge_absolute[name],
        "ratio": parameters.merge_relative[name],
    }
    rule = ", ".join(f"{key} {value:g}" for key, value in merging.items() if value < np.inf)
    return f"{shown}, step {parameters.step_seconds[name]:g} s, merge below {rule or 'any'}"


def remarks(tuned: Tuned, after: Postprocessing) -> list[str]:
    """How methods compare, and what the confidence is."""
    weight = f"weight of its n events: n / (n + {SETTINGS.tuning_shrinkage:g})"
    few = f"a class with few events follows the mean over the classes ({weight})"
    if tuned.values:
        lines = [
            f"{tuned.best(SETTINGS)} is chosen by the mean of event F1 and PSDS1 "
            f"({tuned.folds}-fold cross-validation): {compared(tuned.values)}"
        ]
    else:
        lines = ["methods are not compared: expected at least 2 sections with events, got 1"]
    calibration = after.tuned.calibration.get(after.method)
    return [few, *lines, *([] if calibration is None else [str(calibration)])]
