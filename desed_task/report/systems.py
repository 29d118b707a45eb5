"""The systems that a report compares."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from desed_task.evaluation.results import SystemMetrics
from desed_task.evaluation.scoring_input import ScoringInput
from desed_task.postprocess.calibration import Calibration
from desed_task.sod import SodResult

if TYPE_CHECKING:
    from desed_task.evaluation.bootstrap import Intervals

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class ReportSystem:
    """A system to report on.

    Args:
        name: its name in the report.
        metrics: result of `evaluate`.
        sod: result of its SOD branch, if it has one.
        note: a remark, for instance its post-processing.
        calibration: from its confidences to probabilities, if it was fitted (on other clips).
        training_seconds: CPU seconds of its training, if they are known.
    """

    name: str
    metrics: SystemMetrics
    sod: SodResult | None = None
    note: str | None = None
    calibration: Calibration | None = None
    training_seconds: float | None = None


@dataclass(frozen=True, eq=False)
class ReportInput:
    """The input of every section.

    Args:
        systems: at least one, all scored against the same ground truth. A system's number, which
            gives its colour, is its index here.
        intervals: confidence intervals of the metrics and of their differences.
        audio: folder of the clips' audio files.
        recordings: name of the recording that each clip was cut from, by clip; None: unknown.
    """

    systems: Sequence[ReportSystem]
    intervals: "Intervals | None" = None
    audio: Path | None = None
    recordings: Mapping[str, str] | None = None

    @property
    def names(self) -> dict[int, str]:
        """The systems' names by number."""
        return {number: system.name for number, system in enumerate(self.systems)}

    @property
    def scoring(self) -> list[ScoringInput]:
        """The systems' scoring inputs by number."""
        return [system.metrics.scoring_input for system in self.systems]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by index."""
        return self.scoring[0].truth.classes

    @property
    def origins(self) -> list[str]:
        """By the clip's number its recording; a clip without known recording is one itself."""
        clips = self.scoring[0].truth.events
        return [(self.recordings or {}).get(clip, clip) for clip in clips]

    @property
    def origin(self) -> str:
        """What `origins` are: `recording`, or `clip` where recordings are unknown."""
        return "clip" if self.recordings is None else "recording"

    def scored(self, function: Callable[[ScoringInput], T | None]) -> dict[int, T]:
        """Results of a function by the system's number, without those that are None."""
        found = enumerate(map(function, self.scoring))
        return {number: result for number, result in found if result is not None}
