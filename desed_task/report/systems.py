"""The systems that a report compares."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from desed_task.evaluation.results import SystemMetrics
from desed_task.evaluation.scoring_input import ScoringInput
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
        training_seconds: CPU seconds of its training, if they are known.
    """

    name: str
    metrics: SystemMetrics
    sod: SodResult | None = None
    note: str | None = None
    training_seconds: float | None = None


@dataclass(frozen=True, eq=False)
class ReportInput:
    """The input of every section.

    Args:
        systems: at least one, all scored against the same ground truth. A system's number, which
            gives its colour, is its index here.
        intervals: confidence intervals of the metrics and of their differences.
        audio: folder of the clips' audio files.
    """

    systems: Sequence[ReportSystem]
    intervals: "Intervals | None" = None
    audio: Path | None = None

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

    def scored(self, function: Callable[[ScoringInput], T | None]) -> dict[int, T]:
        """Results of a function by the system's number, without those that are None."""
        found = enumerate(map(function, self.scoring))
        return {number: result for number, result in found if result is not None}
