"""The network's frames for own classes, as fine as the labelled events need."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

FRAMES_S = (0.064, 0.032, 0.016)
"""Lengths of a frame that are chosen from; each is half as long as the one before."""
FRAMES_PER_EVENT = 4
"""Frames that the median event of every class has, where `FRAMES_S` allows it: rounding moves each
end of an event by up to a frame, and frames half as long make a step nearly twice as long."""
FEW_FRAMES = 3
"""A median event with fewer frames is warned of."""
BINS_PER_BAND = 4
"""Least bins of the spectrum for each mel band, so that none of the lowest bands is empty."""


class Frames(NamedTuple):
    """The chosen frames: keys of the configuration, and lines to print.

    Attributes:
        hop_length, n_window: section `feats`.
        pooling: section `net`.
        reason: the frames' length and what they were chosen by.
        warnings: on events that are short even for them; one or none.
    """

    hop_length: int
    n_window: int
    pooling: Sequence[Sequence[int]]
    reason: str
    warnings: Sequence[str] = ()


def choose_frames(
    lengths: Mapping[str, Sequence[float]],
    given: Mapping[str, Any],
    former: Mapping[str, Any] | None = None,
) -> Frames:
    """Choose the frames by the class with the shortest median event.

    Frames finer than those of the configuration come from a shorter hop without time pooling, which
    costs less than a still shorter hop with pooling (docs/performance.md), and a window of two
    hops.

    Args:
        lengths: of the labelled events in seconds, by class.
        given: sections `data`, `feats` and `net` of the configuration; its frames are not made
            coarser, and not changed without events.
        former: the configuration before recordings were added. If its network is the same, its
            frames are not changed, so that trained weights fit.
    """
    fixed = former is not None and _but_for_frames(former) == _but_for_frames(given)
    values = former if former is not None and fixed else given
    rate, feats, pooling = given["data"]["fs"], values["feats"], values["net"]["pooling"]
    hop, window = feats["hop_length"], feats["n_window"]
    coarsest = hop * math.prod(time for time, _ in pooling) / rate
    medians = {name: statistics.median(each) for name, each in lengths.items() if each}
    if not medians:
        return Frames(hop, window, pooling, f"frames of {_ms(coarsest)}: no labels have times")
    name = min(medians, key=medians.__getitem__)
    fitting = [each for each in FRAMES_S if each * FRAMES_PER_EVENT <= medians[name]]
    seconds = coarsest if fixed else min(coarsest, max(fitting, default=min(FRAMES_S)))
    if seconds < coarsest:
        hop = round(seconds * rate)
        window = max(2 * hop, 2 * BINS_PER_BAND * feats["n_mels"])
        pooling = [[1, band] for _, band in pooling]
    event = f"the median event of {name} lasts {round(medians[name], 3):g} s"
    few = f"warning: {event}, less than {FEW_FRAMES} frames: its times will be inexact"
    reason = "as before" if fixed else event
    return Frames(
        hop,
        window,
        pooling,
        f"frames of {_ms(seconds)}: {reason}",
        [few] if medians[name] < FEW_FRAMES * seconds else [],
    )


def _but_for_frames(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Features and network without the keys that `Frames` has."""
    return [
        {key: value for key, value in values[section].items() if key not in Frames._fields}
        for section in ("feats", "net")
    ]


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"
