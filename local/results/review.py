"""Labels of the validation set that a trained network contradicts, as a page to review them."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from desed_task.dataio.recordings import clip_path
from desed_task.desed import SYNTHETIC_VALIDATION
from desed_task.detect import Settings
from desed_task.detect.events import Detection, EventJoiner, find_events
from desed_task.detect.settings import Checked
from desed_task.errors import InputError
from desed_task.evaluation.outputs import Scores
from desed_task.labels import Event
from desed_task.making.collected import RECORD, read_set
from desed_task.model import ModelDescription
from desed_task.review import Audio, Kind, Place, choose_places, write_review
from desed_task.review.snippets import SOUNDS, Snippets
from local.config.load import Config
from local.data import LabelledSet
from local.results.predictions import SetPredictions

logger = logging.getLogger(__name__)

DETECTED_LABEL = Kind("label", "highest score", unanswered="right")
UNDETECTED_LABEL = Kind("label, not detected", "highest score", unanswered="open")
UNLABELLED = Kind("detected, no label", "confidence", unanswered="none")


def write_label_review(
    folder: Path,
    model: ModelDescription,
    predicted: SetPredictions,
    validation: LabelledSet,
    config: Config,
) -> Path:
    """Write `review.html` of labels without a detection, and of detections without a label.

    Labels with the lowest scores and detections with the highest confidences come first; of both,
    the page has at most `postprocess.review_labels`. Its table names the recordings that
    `local.collect` cut the clips from, or, of other data sets, the clips.

    Args:
        folder: of the page.
        model: the network, with its post-processing.
        predicted: its scores of the validation set.
        validation: the set.
        config: the experiment.

    Returns: path of the page.
    """
    scores, settings = predicted.corrected_scores(), Settings().checked(model)
    origins = _origins(Path(config.data.root))
    places: list[Place] = []
    for index, name in enumerate(scores.names):
        length = None if scores.lengths is None else scores.lengths[index]
        values = scores.values[index : index + 1, :, :length]
        edges = scores.edges[index, : values.shape[2] + 1]
        recording, start = origins.get(name, (name, 0.0))
        file = clip_path(validation.coverage.folder, name)
        audio = Audio(recording, file, validation.truth.durations[name], start)
        clip = Scores(values, [name], edges)
        places += clip_places(audio, clip, validation.truth.events[name], model.classes, settings)
    contradicted = [place for place in places if place.kind is not DETECTED_LABEL]
    most = config.postprocess.review_labels
    shown, others = choose_places(contradicted, most, most_others=most)
    others += [place for place in places if place.kind is DETECTED_LABEL]
    title = "Labels of the validation set that the network contradicts"
    snippets = Snippets(folder / SOUNDS, config.data.fs)
    return write_review(folder, title, shown, others, model.classes, snippets)


def clip_places(
    audio: Audio,
    scores: Scores,
    labels: Iterable[Event],
    classes: tuple[str, ...],
    settings: Checked,
) -> Iterator[Place]:
    """The labels of a clip, and the detections that overlap no label of their class."""
    output = settings.parameters.apply(scores, classes)
    joiner = EventJoiner(settings.merge_gap, settings.min_duration, settings.calibration)
    found = joiner.add(find_events(output, classes, settings.thresholds), np.inf)
    labels = [label._replace(offset=min(label.offset, audio.seconds)) for label in labels]
    shown = output.as_scores()
    starts, ends = shown.edges[0, :-1], shown.edges[0, 1:]
    for label in labels:
        inside = (ends > label.onset) & (starts < label.offset)
        peak = shown.values[0, classes.index(label.event_label), inside].max(initial=0.0)
        is_found = any(_overlap(label, event) for event in found)
        kind = DETECTED_LABEL if is_found else UNDETECTED_LABEL
        yield Place(audio, *label, kind, value=float(peak), doubt=1 - float(peak))
    for event in found:
        offset = min(event.offset, audio.seconds)
        if event.onset < offset and not any(_overlap(label, event) for label in labels):
            span = Event(event.onset, offset, event.event_label)
            yield Place(audio, *span, UNLABELLED, value=event.confidence, doubt=event.confidence)


def _overlap(label: Event, event: Detection) -> bool:
    return (
        label.event_label == event.event_label
        and label.onset < event.offset
        and event.onset < label.offset
    )


def _origins(root: Path) -> dict[str, tuple[str, float]]:
    """Recording, and begin in it in seconds, of each validation clip that `local.collect` cut."""
    if not (root / RECORD).is_file():
        return {}
    try:
        clips = read_set(root).clips
    except InputError as error:  # it was edited: no reason to lose a training
        logger.warning("%s; the review of labels names clips", error)
        return {}
    return {
        clip.record.filename: (clip.recording, clip.start)
        for clip in clips
        if clip.set_name == SYNTHETIC_VALIDATION
    }
