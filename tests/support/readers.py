"""Every reader of a table that users write."""

from collections.abc import Callable
from pathlib import Path

from desed_task.dataio.annotations import read_durations, read_strong, read_weak
from desed_task.evaluation import GroundTruth, read_predictions, read_scores

COLUMNS = {
    "strong": "filename\tonset\toffset\tevent_label",
    "weak": "filename\tevent_labels",
    "durations": "filename\tduration",
    "predictions": "filename\tonset\toffset\tevent_label",
}


def table_readers(truth: GroundTruth) -> dict[str, Callable[[Path], object]]:
    """Kind of table -> its reader for the classes and clips of a ground truth.

    The scores of a clip are a file of their own, named after the clip, in a folder.
    """
    return {
        "strong": lambda path: read_strong(path, truth.classes, truth.durations),
        "weak": lambda path: read_weak(path, truth.classes),
        "durations": read_durations,
        "predictions": lambda path: read_predictions(path, truth),
        "scores": lambda path: read_scores(path.parent, truth),
    }
