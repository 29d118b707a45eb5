"""The test: predictions of student and teacher -> figures, files and a table.

Source: docs/recipe.md, "Test".
"""

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from desed_task import __version__
from desed_task.dataio.batch import Batch
from desed_task.evaluation import evaluate, write_system
from desed_task.nnet.crnn import SOD_STATES, SEDOutput
from desed_task.postprocess import median_filter
from local.config import Config
from local.cross_task import correct_scores
from local.data import LabelledSet
from local.objective import sod_labels

STATE_NAMES = ("0", "1", "2+")
VERSIONED = (
    "torch",
    "torchaudio",
    "pytorch-lightning",
    "numpy",
    "scipy",
    "psds_eval",
    "sed_eval",
    "sed_scores_eval",
)
HEADLINES = {
    "PSDS1 (50 thresholds)": "psds1_psds_eval",
    "PSDS1 (exact)": "psds1_sed_scores_eval",
    "PSDS2 (50 thresholds)": "psds2_psds_eval",
    "PSDS2 (exact)": "psds2_sed_scores_eval",
    "event-based macro-F1": "event_f1_macro",
    "segment-based macro-F1": "segment_f1_macro",
    "intersection-based macro-F1": "intersection_f1_macro",
    "SOD accuracy": "sod_accuracy",
    "SOD macro-F1": "sod_f1_macro",
}


class TestPredictions:
    """Gathers one network's predictions on a test set."""

    __test__ = False  # not a test case

    def __init__(self, config: Config, counted: Tensor) -> None:
        self._config = config
        self._counted = counted
        self._raw: list[NDArray[np.float32]] = []
        self._corrected: list[NDArray[np.float32]] = []
        self.names: list[str] = []
        self.confusion = np.zeros((SOD_STATES, SOD_STATES), dtype=np.int64)

    def add(self, batch: Batch, output: SEDOutput) -> None:
        """Add a batch of strongly labelled clips."""
        settings, strong = self._config.postprocess, output.strong.float()
        corrected = strong
        if settings.score_correction and output.sod_logits is not None:
            corrected = correct_scores(
                strong,
                output.sod_logits,
                self._counted,
                threshold=self._config.cross_task.active_threshold,
                gain=settings.correction_gain,
                floor=settings.correction_floor,
            )
        self._raw.append(strong.cpu().numpy())
        self._corrected.append(corrected.cpu().numpy())
        self.names += batch.names
        if output.sod_logits is not None:
            self._count_states(batch, output.sod_logits)

    def _count_states(self, batch: Batch, sod_logits: Tensor) -> None:
        """Add to the confusion matrix (rows: true) the frames that lie within their clip."""
        true = sod_labels(batch.targets, self._counted).cpu().numpy()
        said = sod_logits.argmax(dim=-1).cpu().numpy()
        grid = self._config.grid
        ends = [grid.offset_to_frame(seconds) for seconds in batch.seconds.tolist()]
        inside = np.arange(grid.n_frames) < np.array(ends)[:, None]
        pairs = SOD_STATES * true[inside] + said[inside]
        self.confusion += np.bincount(pairs, minlength=SOD_STATES**2).reshape(self.confusion.shape)

    def raw_scores(self) -> NDArray[np.float32]:
        """The network's probabilities, `(clips, classes, frames)`."""
        return np.concatenate(self._raw)

    def postprocessed_scores(self) -> NDArray[np.float32]:
        """After score correction and median filter, `(clips, classes, frames)`."""
        return median_filter(np.concatenate(self._corrected), self._config.postprocess.windows)

    def sod_figures(self) -> dict[str, float | None]:
        """Accuracy, F1 per state and their mean over the states that occur; None: undefined."""
        right, true = np.diag(self.confusion), self.confusion.sum(axis=1)
        both = true + self.confusion.sum(axis=0)
        f1 = [2 * r / b if b else None for r, b in zip(right.tolist(), both.tolist(), strict=True)]
        occurring = [value for value, n in zip(f1, true, strict=True) if n and value is not None]
        return {
            "sod_accuracy": float(right.sum() / true.sum()) if true.sum() else None,
            **{f"sod_f1_{name}": value for name, value in zip(STATE_NAMES, f1, strict=True)},
            "sod_f1_macro": float(np.mean(occurring)) if occurring else None,
        }


def score_test_set(
    predictions: Mapping[str, TestPredictions],
    part: LabelledSet,
    config: Config,
    folder: Path,
) -> dict[str, float | int | None]:
    """Score and write what every network predicted on one test set.

    Args:
        predictions: by network, `student` and `teacher`.
        part: the test set; clips that were not predicted (a shortened run) are left out.
        folder: gets a folder per network.

    Returns: figures by `network/figure`, and clip counts of the set.
    """
    figures: dict[str, float | int | None] = {}
    for name, predicted in predictions.items():
        truth = part.truth.restricted(predicted.names)
        scores = predicted.postprocessed_scores()
        metrics = evaluate(
            scores,
            predicted.names,
            truth,
            config.grid,
            thresholds=operating_points(config.training.n_test_thresholds),
            f1_threshold=config.postprocess.f1_threshold,
            drop_clips_without_events=config.postprocess.drop_clips_without_events,
            trim_to_duration=config.postprocess.trim_to_clip,
        )
        write_system(
            folder / name,
            scores,
            predicted.names,
            truth,
            config.grid,
            metrics,
            title=f"{name}, {part.name} set",
            raw_scores=predicted.raw_scores(),
        )
        flat = metrics.as_flat_dict() | predicted.sod_figures()
        figures |= {f"{name}/{key}": value for key, value in flat.items()}
    coverage = part.coverage
    figures["clips_expected"] = coverage.expected
    figures["clips_missing"] = len(coverage.missing)
    return figures


def operating_points(number: int) -> list[float]:
    """`number` thresholds in the middle of equal steps of (0, 1): 0.01, 0.03 … 0.99 for 50."""
    return [(2 * k + 1) / (2 * number) for k in range(number)]


def write_metrics(figures: Mapping[str, Any], config: Config, path: Path) -> None:
    """Write the figures, the configuration's digest and all versions, flat, as JSON."""
    versions = {"versions/desed_task": __version__}
    versions |= {f"versions/{name}": version(name) for name in VERSIONED}
    versions["versions/python"] = platform.python_version()
    content = {
        **figures,
        "note/macro": "macro averages are over the classes that occur in the truth; "
        "intersection_f1_macro, as psds_eval defines it, leaves out classes without any found "
        "event (intersection_f1_macro_occurring does not); null: undefined",
        "note/clips_without_events": "left out"
        if config.postprocess.drop_clips_without_events
        else "scored: false alarms there count",
        "config_digest": config.digest,
        **versions,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def metrics_table(figures: Mapping[str, Any], networks: list[str], set_name: str) -> str:
    """The headline figures, one network beside the other."""
    rows = [f"{set_name:<29}" + "".join(f"{network:>10}" for network in networks)]
    for title, key in HEADLINES.items():
        values = [figures.get(f"{set_name}/{network}/{key}") for network in networks]
        shown = ["-" if value is None else f"{value:.4f}" for value in values]
        rows.append(f"{title:<29}" + "".join(f"{value:>10}" for value in shown))
    return "\n".join(rows)
