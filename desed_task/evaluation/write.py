"""What an evaluation leaves in a system's folder (docs/recipe.md, "Test")."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from desed_task.evaluation.decode import to_frame
from desed_task.evaluation.libraries import event_based, report, segment_based
from desed_task.evaluation.pictures import draw_psd_roc
from desed_task.evaluation.results import SystemMetrics
from desed_task.evaluation.score_files import write_scores
from desed_task.evaluation.truth import GroundTruth
from desed_task.frames import FrameGrid


def write_system(
    folder: str | Path,
    scores: NDArray[np.floating],
    names: Sequence[str],
    truth: GroundTruth,
    grid: FrameGrid,
    metrics: SystemMetrics,
    *,
    title: str | None = None,
    raw_scores: NDArray[np.floating] | None = None,
) -> None:
    """Write a system's events, reports, curves and scores.

    Files: `events_T.tsv` (T the F1 threshold), `event_f1.txt` and `segment_f1.txt` as sed_eval
    prints them, `psd_roc_1.png`, `psd_roc_2.png` (over all thresholds; left out where the score
    is undefined), `scores/postprocessed/CLIP.tsv`, and `scores/raw/CLIP.tsv` if raw scores are
    given. Each file is complete when it appears.

    Args:
        folder: made if it is not there.
        scores, names, truth, grid: as given to `evaluate`.
        metrics: what `evaluate` returned for them.
        title: the system's name in the pictures; the folder's name if None.
        raw_scores: the network's probabilities, of the shape of `scores`.

    Raises:
        InputError: see `write_scores`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_scores(folder / "scores" / "postprocessed", scores, names, truth.classes, grid)
    if raw_scores is not None:
        write_scores(folder / "scores" / "raw", raw_scores, names, truth.classes, grid)
    events = to_frame(metrics.detections, names, truth.classes)
    table = events.to_csv(sep="\t", index=False, float_format="%.10g", lineterminator="\n")
    texts = {
        f"events_{metrics.f1_threshold:g}.tsv": table,
        "event_f1.txt": report(event_based(events, truth)),
        "segment_f1.txt": report(segment_based(events, truth)),
    }
    for name, text in texts.items():
        with _appearing(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")
    for number, scenario in enumerate(("psds1", "psds2"), start=1):
        if scenario in metrics.rocs:
            with _appearing(folder / f"psd_roc_{number}.png") as partial:
                roc = metrics.rocs[scenario]
                draw_psd_roc(roc, truth.classes, partial, title or folder.name)


@contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """A file to write that takes its name once it is complete."""
    partial = path.with_name(f"{path.stem}.partial-{os.getpid()}{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
