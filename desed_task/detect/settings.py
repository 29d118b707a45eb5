"""What a user chooses of a detection, checked against the model."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from desed_task.dataio.audio import MIX, Channel, check_channel
from desed_task.errors import InputError, nearest, shortened
from desed_task.model import ModelDescription
from desed_task.postprocess.calibration import Calibration
from desed_task.postprocess.methods import (
    MEDIAN,
    SEBBS,
    TUNED_MEDIAN,
    Method,
    Parameters,
    class_thresholds,
)
from desed_task.tables import normalised


@dataclass(frozen=True)
class Settings:
    """How scores become events.

    Attributes:
        threshold: score above which a class is active: of all classes, or by class name, the
            others having the model's; None: the model's.
        classes: names of the classes to detect; None: all.
        min_duration: seconds; shorter events are dropped, after merging.
        merge_gap: seconds; events of a class with a shorter pause between them become one.
        method: post-processing; None: the model's.
        overlap: fraction of a window that the next one shares, in [0, 0.95].
        channel: how channels become one, see `desed_task.dataio.audio.Mono`.
    """

    threshold: float | Mapping[str, float] | None = None
    classes: Sequence[str] | None = None
    min_duration: float = 0.0
    merge_gap: float = 0.0
    method: Method | None = None
    overlap: float = 0.5
    channel: Channel = MIX

    def for_stream(self, model: ModelDescription) -> "Settings":
        """The settings for a stream, where the model's default needs the whole recording.

        Without a method of the user's, the median filter replaces it: the tuned one, if there is.
        """
        methods = model.postprocessing.methods
        if self.method is not None or model.postprocessing.method != SEBBS:
            return self
        return replace(self, method=TUNED_MEDIAN if TUNED_MEDIAN in methods else MEDIAN)

    def checked(self, model: ModelDescription) -> "Checked":
        """The settings for a model. Raises InputError that names the option and what is allowed."""
        for option, value, largest in (
            ("min_duration", self.min_duration, float("inf")),
            ("merge_gap", self.merge_gap, float("inf")),
            ("overlap", self.overlap, 0.95),
        ):
            if not 0 <= value <= largest:
                bound = f" and at most {largest:g}" if largest < float("inf") else ""
                raise InputError(f"--{option}: expected at least 0{bound}, got {value:g}")
        check_channel(self.channel)
        method = self.method or model.postprocessing.method
        parameters = model.postprocessing.parameters(method)
        if parameters is None:
            known = ", ".join(model.postprocessing.methods)
            raise InputError(
                f"--postprocess {method}: the model has no parameters of it: expected {known}"
            )
        chosen = known_classes(self.classes or model.classes, "--classes", model)
        default = class_thresholds(parameters, model.classes)
        if isinstance(default, float):
            default = [default] * len(model.classes)
        thresholds = dict(zip(model.classes, default, strict=True))
        given = self.threshold
        if isinstance(given, Mapping):
            named = known_classes(given, "--threshold", model)
            thresholds |= dict(zip(named, given.values(), strict=True))
        elif given is not None:
            thresholds = dict.fromkeys(model.classes, given)
        for value in thresholds.values():
            if not 0 <= value < float("inf"):
                raise InputError(f"--threshold: expected at least 0, got {value:g}")
        return Checked(
            method,
            parameters,
            model.postprocessing.tuned.calibration.get(method),
            # A class that is not wanted is never above its threshold.
            [thresholds[c] if c in chosen else float("inf") for c in model.classes],
            self.min_duration,
            self.merge_gap,
            self.overlap,
            self.channel,
        )


@dataclass(frozen=True)
class Checked:
    """Settings that fit a model.

    Attributes:
        method, parameters: post-processing.
        calibration: of the method's confidences; None: they are scores.
        thresholds: in the order of the model's classes; infinite for classes that are not wanted.
        min_duration, merge_gap: seconds.
        overlap: fraction.
        channel: how channels become one.
    """

    method: Method
    parameters: Parameters
    calibration: Calibration | None
    thresholds: list[float]
    min_duration: float
    merge_gap: float
    overlap: float
    channel: Channel


def known_classes(names: Iterable[str], option: str, model: ModelDescription) -> list[str]:
    """The classes of the model with these names. Raises InputError that names the option."""
    listed = [normalised(name) for name in names]
    repeated = sorted({name for name in listed if listed.count(name) > 1})
    if repeated:
        raise InputError(f"{option}: expected each class once, got several {shortened(repeated)}")
    unknown = [f"{n}{nearest(n, model.classes)}" for n in listed if n not in model.classes]
    if unknown:
        raise InputError(
            f"{option}: expected classes of the model ({shortened(model.classes)}), got "
            f"{shortened(unknown)}"
        )
    return listed
