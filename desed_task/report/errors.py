"""The sections of the report on what goes wrong: classes confused, sounds miscounted, times off."""

from desed_task.evaluation.events import Floats, Ints
from desed_task.evaluation.results import MetricValue
from desed_task.report import matrix_pictures, score_pictures
from desed_task.report.analysis import (
    POLYPHONY_STEP,
    boundary_errors,
    cross_trigger_matrix,
    polyphony_confusion,
)
from desed_task.report.parts import Block, Picture, Section, Source, Text
from desed_task.report.tables import error_table, state_table


def cross_triggers(source: Source) -> Section:
    """Which class was detected in place of which."""
    blocks: list[Block] = []
    for number, system in enumerate(source.systems, start=1):
        if system.metrics.scoring_input.detections is None:
            blocks.append(Text(f"{system.name} gave no events at one threshold."))
            continue
        matrix = cross_trigger_matrix(system.metrics)
        if not matrix.any():
            blocks.append(Text(f"{system.name} has no cross trigger."))
        else:
            blocks.append(
                Picture(
                    f"cross_triggers_{number}.png",
                    matrix_pictures.cross_triggers(matrix, source.classes),
                    f"Cross triggers of {system.name}: rows detected class, columns true class.",
                    f"{system.name}: {matrix.sum():,} cross triggers at the F1 threshold. Row: "
                    "the class that was detected, wrongly; column: the class that was true there.",
                )
            )
    return Section(
        "cross-triggers",
        "Cross triggers",
        "A cross trigger is a rejected detection (true events of its class cover less than half of "
        "it) of which true events of another class cover at least 30 %. One detection can be a "
        "cross trigger of several classes.",
        tuple(blocks),
    )


def polyphony(source: Source) -> Section:
    """How many classes are active at once: by events, and by the SOD head where there is one."""
    blocks: list[Block] = []
    by_events = {
        system.name: matrix
        for system in source.systems
        if (matrix := polyphony_confusion(system.metrics.scoring_input)) is not None
    }
    if by_events:
        blocks += [
            Text("By the detected events", heading=True),
            Picture(
                "polyphony.png",
                matrix_pictures.state_matrices(
                    by_events,
                    unit=matrix_pictures.seconds_text,
                    said="classes detected at once",
                    true="classes true at once",
                ),
                "Confusion matrices of the number of active classes (0, 1, 2+), true and detected.",
                "Row: how many classes are truly active; column: how many are detected at the F1 "
                "threshold. Cells: share of the row, and time.",
            ),
            state_table({name: (_diagonal(m),) for name, m in by_events.items()}, ("time right",)),
        ]
    else:
        blocks.append(Text("No system gave events at one threshold."))
    sod = {s.name: s.sod for s in source.systems if s.sod is not None}
    if sod:
        blocks += [
            Text("By the network's second task (SOD)", heading=True),
            Picture(
                "sod.png",
                matrix_pictures.state_matrices(
                    {name: result.confusion for name, result in sod.items()},
                    unit=matrix_pictures.frames_text,
                    said="sounds at once, as SOD says",
                    true="sounds true at once",
                ),
                "Confusion matrices of SOD: number of sounds (0, 1, 2+), true and said.",
                "Row: true state of a frame; column: what SOD says. Cells: share of the row, and "
                "frames.",
            ),
            state_table(
                {name: (_diagonal(r.confusion), r.agreement) for name, r in sod.items()},
                ("frames right", "SED and SOD agree"),
            ),
        ]
    return Section(
        "polyphony",
        "How many sounds at once",
        "Whether nothing, one class, or two and more are active, whichever they are; looked at "
        f"every {1000 * POLYPHONY_STEP:g} ms within the clips.",
        tuple(blocks),
    )


def _diagonal(matrix: Floats | Ints) -> MetricValue:
    """Share of the diagonal; None for zeros only."""
    total = float(matrix.sum())
    return float(matrix.trace()) / total if total else None


def boundaries(source: Source) -> Section:
    """How far onsets, offsets and durations are off."""
    found = {n: boundary_errors(s.metrics.scoring_input) for n, s in enumerate(source.systems)}
    errors = {number: of_system for number, of_system in found.items() if of_system is not None}
    blocks: list[Block] = []
    if any(map(len, errors.values())):
        limit = score_pictures.ERROR_LIMIT
        blocks.append(
            Picture(
                "boundaries.png",
                score_pictures.error_histograms(errors, source.names),
                "Histograms of the errors of onset, offset and duration, one outline per system.",
                f"Steps of {score_pictures.ERROR_STEP:g} s; errors beyond ±{limit:g} s are in "
                "the outermost steps. Grey: the collar of ±0.2 s of the event-based F1 (its "
                "offset collar is wider, 20 % of the length, for events over 1 s).",
            )
        )
        blocks.append(error_table({source.names[n]: e for n, e in errors.items()}))
    else:
        blocks.append(Text("No detection shares time with a true event of its class."))
    return Section(
        "boundaries",
        "Onsets and offsets",
        "Each detection is paired with the true event of its class that it shares most time "
        "with; where several choose the same one, only the one that covers most of it counts.",
        tuple(blocks),
    )
