"""Settings of counting sounds and of the score correction (`desed_task.sod`).

A module of its own: evaluation and reports import `desed_task.sod`, and need no settings.
"""

from collections.abc import Collection

from pydantic import Field

from desed_task.errors import nearest, shortened
from desed_task.settings import ClassName, Fraction, FractionBelow1, Settings, Shown, Values


class CountSettings(Settings):
    """How SED counts the classes that are active at once."""

    excluded_classes: Values[ClassName] = Field(
        description="classes excluded from every count of active classes; `[]`: none"
    )
    active_threshold: FractionBelow1 = Field(
        description="score above which a class is treated as active"
    )

    def check_classes(self, classes: Collection[str]) -> None:
        """Raise a misfit for an excluded class that is none, and where no class is counted."""
        unknown = [
            name + nearest(name, classes) for name in self.excluded_classes if name not in classes
        ]
        self._require(
            not unknown,
            "excluded_classes",
            f"names of classes ({shortened(classes)}), or `[]`",
            "classes",
            got=Shown(shortened(unknown)),
        )
        self._require(
            set(self.excluded_classes) != set(classes),
            "excluded_classes",
            "at least one class that is not excluded",
            "classes",
        )


class CorrectionStrength(Settings):
    """How much the score correction raises which scores."""

    correction_gain: Fraction = Field(description="added to the score of the class that is raised")
    correction_floor: Fraction = Field(description="score above which a second class may be raised")


class CorrectionSettings(CountSettings, CorrectionStrength):
    """The score correction by SOD."""
