"""Section on single clips: the best and the worst."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from desed_task.drawing.clip_pictures import MAX_ROWS, Spectrogram, draw_clip, log_mel
from desed_task.errors import InputError
from desed_task.evaluation import event_based
from desed_task.evaluation.events import Floats, Ints, find_overlaps, sums
from desed_task.evaluation.outputs import Boxes
from desed_task.evaluation.scoring_input import ScoringInput
from desed_task.report.blocks import (
    Block,
    Heading,
    Paragraph,
    Picture,
    Section,
    Table,
    format_value,
    row,
)
from desed_task.report.systems import ReportInput, ReportSystem

N_CLIPS = 3  # best and worst ones each
TITLE = "Best and worst clips"
INTRO = (
    "The clips with the highest and the lowest event-based F1 of {name}, and the output of every "
    "system for them. Of clips with equal F1, the best have most true events; the worst have the "
    "smallest overlap of true and detected events, then most errors."
)
SCORES_LEGEND = (
    "area: score from 0 to 1 in each row, with the F1 threshold dotted; bar at the foot of a "
    "row: detected events"
)
BOXES_LEGEND = "boxes: as high as their confidence, which is written in them"
EVENTS_LEGEND = "wide bars: detected events of a system without scores"


def clip_section(report: ReportInput) -> Section:
    """The best and the worst clips of the first system that has detections."""
    for system in report.systems:
        scores = clip_scores(system.metrics.scoring_input)
        if scores is not None:
            intro = INTRO.format(name=system.name)
            return Section("clips", TITLE, intro, _clips_blocks(report, system, scores))
    return Section("clips", TITLE, "No system has events at one threshold.", ())


def _clips_blocks(report: ReportInput, system: ReportSystem, scores: "ClipScores") -> list[Block]:
    """A table of the best and worst clips of this system, and a picture of each."""
    scoring = system.metrics.scoring_input
    names = list(scoring.truth.events)
    best, worst = best_and_worst(scoring, scores)
    clips = {f"best {rank}": names[clip] for rank, clip in enumerate(best, start=1)}
    clips |= {f"worst {rank}": names[clip] for rank, clip in enumerate(worst, start=1)}
    if not clips:
        return [Paragraph("No clip has an event or a detection.")]
    blocks: list[Block] = [clip_table(report, clips)]
    for rank, clip in clips.items():
        blocks += _clip_blocks(report, rank, clip)
    return blocks


def _clip_blocks(report: ReportInput, rank: str, clip: str) -> list[Block]:
    """One clip's picture, and a remark if its audio is missing or unreadable."""
    spectrogram, problem = _spectrogram(report, clip)
    picture = Picture(
        f"clip_{rank.replace(' ', '_')}.png",
        draw_clip(report, clip, spectrogram),
        f"Clip {clip} over time: true events, and each system's scores and events.",
        f"Classes that are true or detected here (of more than {MAX_ROWS} the true ones, and "
        f"those detected for most time). Grey: true events; {_legend(report)}. "
        "Dashed: the end of the clip, if events extend beyond it.",
    )
    blocks: list[Block] = [Heading(f"{rank.capitalize()}: {clip}"), picture]
    return blocks if problem is None else [*blocks, Paragraph(f"No spectrogram: {problem}")]


def _legend(report: ReportInput) -> str:
    """Explanation of the areas, boxes and bars."""
    kinds = {type(system.metrics.scoring_input.scores) for system in report.systems}
    entries = [SCORES_LEGEND] if kinds - {Boxes, type(None)} else []
    if Boxes in kinds:
        entries.append(BOXES_LEGEND)
    if type(None) in kinds:
        entries.append(EVENTS_LEGEND)
    return "; ".join(entries)


def _spectrogram(report: ReportInput, clip: str) -> tuple[Spectrogram | None, str | None]:
    """A clip's spectrogram, or the reason why there is none; (None, None) without audio folder."""
    if report.audio is None:
        return None, None
    path = audio_path(report.audio, clip)
    if path is None:
        return None, f"the audio folder holds no file of clip {clip}."
    truth = report.systems[0].metrics.scoring_input.truth
    try:
        return log_mel(path, truth.durations[clip]), None
    except InputError as error:
        return None, str(error).replace(str(path), path.name)


def audio_path(folder: Path, clip: str) -> Path | None:
    """The clip's file in the folder, `CLIP` or `CLIP.wav`; None if there is none.

    A name that leads out of the folder, absolute or with `..`, has no file.
    """
    if Path(clip).is_absolute() or ".." in Path(clip).parts:
        return None
    paths = (folder / clip, folder / f"{clip}.wav")
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


def clip_scores(scoring: ScoringInput) -> ClipScores | None:
    """Event-based counts and overlap of every clip; None without detections."""
    if scoring.detections is None:
        return None
    n_clips = len(scoring.durations)
    detections, true = scoring.detections, scoring.true
    counts = event_based.match(detections, true, scoring.n_classes)
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


def best_and_worst(
    scoring: ScoringInput, scores: ClipScores, number: int = N_CLIPS
) -> tuple[Ints, Ints]:
    """Indices of the clips with the highest and with the lowest F1, at most `number` of each.

    Of clips with equal F1 the best have most true events, then most overlap; the worst have least
    overlap, then most errors. No clip is in both; the best have an F1 above 0, the worst one
    below 1. Clips without true and detected events, and clips without scores of a system that has
    scores for others, are excluded.
    """
    f1 = scores.f1
    known = ~np.isnan(f1)
    if scoring.scores is not None:
        known &= np.isin(np.array(list(scoring.truth.events), dtype=object), list(scoring.names))
    clips = np.flatnonzero(known)
    best = clips[np.lexsort((clips, -scores.overlap[clips], -scores.true[clips], -f1[clips]))]
    best = best[f1[best] > 0][: min(number, (len(clips) + 1) // 2)]
    rest = np.setdiff1d(clips, best)
    worst = rest[np.lexsort((rest, -scores.errors[rest], scores.overlap[rest], f1[rest]))]
    return best, worst[f1[worst] < 1][:number]


def clip_table(report: ReportInput, clips: Mapping[str, str]) -> Table:
    """Event-based F1 and counts of some clips by system; systems without detections are excluded.

    Args:
        report: the systems.
        clips: clip names by rank.
    """
    columns = {}
    for system in report.systems:
        scores = clip_scores(system.metrics.scoring_input)
        if scores is not None:
            index = {name: k for k, name in enumerate(system.metrics.scoring_input.truth.events)}
            columns[system.name] = [_clip_cell(scores, index[clip]) for clip in clips.values()]
    rows = [
        row(f"{rank}: {clip}", *cells)
        for (rank, clip), *cells in zip(clips.items(), *columns.values(), strict=True)
    ]
    caption = "Event-based micro-F1, and number of events: correct / detected / true."
    return Table(caption, ("clip", *columns), tuple(rows))


def _clip_cell(scores: ClipScores, clip: int) -> str:
    counts = (scores.correct[clip], scores.detected[clip], scores.true[clip])
    return f"{format_value(float(scores.f1[clip]), 3)} ({' / '.join(map(str, counts))})"
