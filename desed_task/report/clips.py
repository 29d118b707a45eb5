"""Section on single clips: the worst ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from desed_task.dataio.recordings import clip_path
from desed_task.drawing.canvas import image_png
from desed_task.drawing.clip_pictures import (
    MAX_ROWS,
    Panel,
    Row,
    Spectrogram,
    Strip,
    choose_rows,
    class_spans,
    draw_clip,
    log_mel,
)
from desed_task.drawing.style import nth_colour, one_line
from desed_task.errors import InputError
from desed_task.evaluation import event_based
from desed_task.evaluation.events import EventTable, Floats, Ints, find_overlaps, sums
from desed_task.evaluation.outputs import Boxes
from desed_task.evaluation.scoring_input import ScoringInput
from desed_task.report.blocks import NO_BREAK, Block, Picture, Section, Table, format_value
from desed_task.report.systems import ReportInput

N_CLIPS = 5
TITLE = "Worst clips"
INTRO = (
    "The clips with the lowest event-based F1 of {name}, and the output of every system for them. "
    "Of clips with equal F1, the first have the smallest overlap of true and detected events, then "
    "most errors."
)
CAPTION = (
    f"Classes that are true or detected here (of more than {MAX_ROWS} the true ones, and those "
    "detected for most time). Grey: true events. Area: score from 0 to 1, with the F1 threshold "
    "dotted; box: its confidence; bar at the foot of a row, or alone: detected events. Dashed: the "
    "end of the clip, if events extend beyond it."
)


def clip_section(report: ReportInput) -> Section:
    """The worst clips of the first system that has detections: a table, a picture of each."""
    scores = report.scored(clip_scores)
    if not scores:
        return Section("clips", TITLE, "No system has events at one threshold.", ())
    first = next(iter(scores))
    intro = INTRO.format(name=report.names[first])
    clips = worst_clips(report.scoring[first], scores[first])
    if not len(clips):
        return Section("clips", TITLE, intro, ["No clip has an error."])
    names = list(report.scoring[first].truth.events)
    blocks: list[Block] = [clip_table(report, scores, clips), CAPTION]
    for rank, clip in enumerate(clips.tolist(), start=1):
        name = names[clip]
        spectrogram, problem = _spectrogram(report, name)
        png = image_png(draw_clip([clip_strip(report, clip, spectrogram)]))
        alt = f"Clip {name} over time: true events, and each system's scores and events."
        remark = "" if problem is None else f" No spectrogram: {problem}"
        blocks.append(Picture(f"clip_worst_{rank}.png", png, alt, f"{rank}. {name}{remark}"))
    return Section("clips", TITLE, intro, blocks)


def clip_table(report: ReportInput, scores: Mapping[int, "ClipScores"], clips: Ints) -> Table:
    """Event-based F1 and counts of some clips, by system that has detections."""
    names = list(report.scoring[0].truth.events)
    rows = [[names[clip], *(each.text(clip) for each in scores.values())] for clip in clips]
    caption = "Event-based micro-F1, and number of events: correct / detected / true."
    return Table(caption, ("clip", *(report.names[number] for number in scores)), rows)


def clip_strip(report: ReportInput, clip: int, spectrogram: Spectrogram | None) -> Strip:
    """One clip's rows of classes, a panel for each system.

    Args:
        report: the systems; at least one has a true or detected event in the clip.
        clip: its index in the ground truth.
        spectrogram: of the clip's audio; not drawn if None.
    """
    scoring = report.scoring[0]
    true = _clip_events(scoring.true, clip)
    # A system without detections has no events.
    detected = [
        _clip_events(each.detections or true.select(slice(0)), clip) for each in report.scoring
    ]
    seconds = [
        sums(table.label, table.offset - table.onset, scoring.n_classes)
        for table in (true, *detected)
    ]
    labels, hidden = choose_rows(seconds[0], np.sum(seconds[1:], axis=0))
    panels = [
        _system_panel(report, number, clip, labels, true, events)
        for number, events in enumerate(detected)
    ]
    panels[0] = panels[0]._replace(title=f"{panels[0].title}{hidden}")
    end = float(scoring.durations[clip])
    last = max(float(events.offset.max()) for events in (true, *detected) if len(events))
    beyond = last > end + 1e-6
    return Strip(0.0, max(end, last), panels, spectrogram, clip_end=end if beyond else None)


def _clip_events(events: EventTable, clip: int) -> EventTable:
    return events.select(events.clip == clip)


def _system_panel(
    report: ReportInput,
    number: int,
    clip: int,
    labels: Sequence[int],
    true: EventTable,
    events: EventTable,
) -> Panel:
    """A system's events, and its scores or boxes, in the rows of some classes."""
    system, scoring = report.systems[number], report.scoring[number]
    remark = "" if scoring.detections is not None else ": no events at one threshold"
    scores, edges, values, boxes = scoring.scores, None, None, None
    name = list(scoring.truth.events)[clip]
    if scores is not None and name not in scores.names:
        remark = remark or ": no scores of this clip"
    elif isinstance(scores, Boxes):
        boxes = scores
    elif scores is not None:
        frames = scores.as_scores()
        index = list(frames.names).index(name)
        edges, values = frames.edges[index], frames.values[index]
    rows = [
        Row(
            name=report.classes[label],
            events=class_spans(events, label),
            true=class_spans(true, label),
            scores=None if values is None else values[label],
            boxes=None if boxes is None else _clip_boxes(boxes, name, label),
            threshold=system.metrics.per_class[report.classes[label]].f1_threshold,
        )
        for label in labels
    ]
    return Panel(f"{one_line(system.name, 60)}{remark}", rows, nth_colour(number), edges)


def _clip_boxes(boxes: Boxes, clip: str, label: int) -> Floats:
    """Onset, offset and confidence of a class's boxes in a clip, `(boxes, 3)`."""
    events = boxes.events
    rows = (events.clip == list(boxes.names).index(clip)) & (events.label == label)
    return np.stack([events.onset[rows], events.offset[rows], boxes.confidence[rows]], axis=1)


def _spectrogram(report: ReportInput, clip: str) -> tuple[Spectrogram | None, str | None]:
    """A clip's spectrogram, or the reason why there is none; (None, None) without audio folder."""
    if report.audio is None:
        return None, None
    path = audio_path(report.audio, clip)
    if path is None:
        return None, f"the audio folder holds no file of clip {clip}."
    try:
        return log_mel(path, report.scoring[0].truth.durations[clip]), None
    except InputError as error:
        return None, str(error).replace(str(path), path.name)


def audio_path(folder: Path, clip: str) -> Path | None:
    """The clip's file in the folder, `CLIP` or `CLIP.wav`; None if there is none.

    A name that leads out of the folder, absolute or with `..`, has no file.
    """
    if Path(clip).is_absolute() or ".." in Path(clip).parts:
        return None
    paths = (clip_path(folder, clip), clip_path(folder, f"{clip}.wav"))
    return next((path for path in paths if path.is_file()), None)


@dataclass(frozen=True, eq=False)
class ClipScores:
    """A system's scores in each clip, `(clips,)`.

    Args:
        true: number of true events.
        detected: number of detected events.
        correct: number of true events that are found, event-based.
        overlap: seconds in which a class is both true and detected, divided by the mean of true
            and detected seconds; NaN without true and detected events.
    """

    true: Ints
    detected: Ints
    correct: Ints
    overlap: Floats

    @property
    def f1(self) -> Floats:
        """Event-based micro-F1; NaN without true and detected events."""
        total = self.true + self.detected
        return np.where(total > 0, 2 * self.correct / np.maximum(total, 1), np.nan)

    @property
    def errors(self) -> Ints:
        """Number of missed true events and of false detections."""
        return self.true + self.detected - 2 * self.correct

    def text(self, clip: int) -> str:
        """F1 of a clip, and its counts: correct / detected / true."""
        counts = f"({self.correct[clip]} / {self.detected[clip]} / {self.true[clip]})"
        return f"{format_value(float(self.f1[clip]), 3)} {counts.replace(' ', NO_BREAK)}"


def clip_scores(scoring: ScoringInput) -> ClipScores | None:
    """Event-based counts and overlap of every clip; None without detections."""
    if scoring.detections is None:
        return None
    n_clips = len(scoring.durations)
    detections, true = scoring.detections, scoring.true
    counts = event_based.match(scoring, detections)
    correct, false = counts.correct.per_clip(n_clips), counts.false.per_clip(n_clips)
    overlaps = find_overlaps(detections, true)
    detected, _, seconds = overlaps.select(overlaps.same_class)
    shared = sums(detections.clip[detected], seconds, n_clips)
    total = sum(
        sums(table.clip, table.offset - table.onset, n_clips) for table in (detections, true)
    )
    overlap = np.full(n_clips, np.nan)
    np.divide(2 * shared, total, out=overlap, where=total > 0)
    return ClipScores(
        counts.true.per_clip(n_clips), correct + false, correct, np.minimum(overlap, 1.0)
    )


def worst_clips(scoring: ScoringInput, scores: ClipScores, number: int = N_CLIPS) -> Ints:
    """Indices of the clips with the lowest F1, at most `number`, all below 1.

    Of clips with equal F1 the first have least overlap, then most errors. Clips without true and
    detected events, and clips without scores of a system that has scores for others, are excluded.
    """
    f1 = scores.f1
    known = f1 < 1  # not NaN
    if scoring.scores is not None:
        known &= np.isin(np.array(list(scoring.truth.events), dtype=object), list(scoring.names))
    clips = np.flatnonzero(known)
    return clips[np.lexsort((-scores.errors[clips], scores.overlap[clips], f1[clips]))][:number]
