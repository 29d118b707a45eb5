"""Files of one system's evaluation (docs/recipe.md, "Test")."""

from pathlib import Path
from typing import TYPE_CHECKING

from desed_task.evaluation.libraries import event_based, report, segment_based, to_frame
from desed_task.evaluation.outputs import Boxes, Scores
from desed_task.evaluation.results import SystemMetrics
from desed_task.evaluation.score_files import write_scores
from desed_task.files import write_file

if TYPE_CHECKING:
    import pandas as pd


def write_system(
    folder: str | Path, metrics: SystemMetrics, *, raw_scores: Scores | None = None
) -> None:
    """Write a system's events, reports and scores.

    Files: `events_T.tsv` (T the F1 threshold, `tuned` where each class has its own),
    `event_f1.txt` and `segment_f1.txt` as sed_eval prints them, `scores/postprocessed/CLIP.tsv`
    or, of bounding boxes, `boxes.tsv` with their confidences, and `scores/raw/CLIP.tsv` if raw
    scores are given. Each file is written completely or not at all.

    Args:
        folder: created where it does not exist.
        metrics: result of `evaluate`.
        raw_scores: the network's probabilities.

    Raises:
        InputError: see `write_scores`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    scoring = metrics.scoring_input
    clips, classes = list(scoring.truth.events), scoring.truth.classes
    texts = {}
    if isinstance(scoring.scores, Scores):
        write_scores(folder / "scores" / "postprocessed", scoring.scores, classes)
    elif isinstance(scoring.scores, Boxes):
        boxes = to_frame(scoring.scores.events, scoring.scores.names, classes)
        texts["boxes.tsv"] = _tsv(boxes.assign(confidence=scoring.scores.confidence))
    if raw_scores is not None:
        write_scores(folder / "scores" / "raw", raw_scores, classes)
    if scoring.detections is not None:
        events = to_frame(scoring.detections, clips, classes)
        threshold = "tuned" if metrics.f1_threshold is None else f"{metrics.f1_threshold:g}"
        texts[f"events_{threshold}.tsv"] = _tsv(events)
        texts["event_f1.txt"] = report(event_based(events, scoring.truth))
        texts["segment_f1.txt"] = report(segment_based(events, scoring.truth))
    for name, text in texts.items():
        write_file(folder / name, text)


def _tsv(table: "pd.DataFrame") -> str:
    return table.to_csv(sep="\t", index=False, float_format="%.10g", lineterminator="\n")
