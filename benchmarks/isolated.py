"""Detections in isolated recordings: the class of each, and wrong classes beside it."""

from collections.abc import Collection, Mapping
from typing import NamedTuple


class Counts(NamedTuple):
    """Counts of a set of recordings, a class once per recording.

    Attributes:
        recordings: those with a class.
        hits: those in which it was found.
        wrong: other classes that were found in them.
        backgrounds: recordings without a class.
        false_alarms: classes that were found in these.
    """

    recordings: int
    hits: int
    wrong: int
    backgrounds: int
    false_alarms: int


def hits_and_wrong(
    detections: Mapping[str, Collection[str]], classes: Mapping[str, str | None]
) -> Counts:
    """Count right and wrong classes.

    Args:
        detections: the classes of the events that were found, by recording; missing: none.
        classes: the class of each recording; None: a background, in which any class is wrong.
    """
    found = {name: set(detections.get(name, ())) for name in classes}
    labelled = {name: label for name, label in classes.items() if label is not None}
    return Counts(
        recordings=len(labelled),
        hits=sum(label in found[name] for name, label in labelled.items()),
        wrong=sum(len(found[name] - {label}) for name, label in labelled.items()),
        backgrounds=len(classes) - len(labelled),
        false_alarms=sum(len(found[name]) for name in classes.keys() - labelled),
    )
