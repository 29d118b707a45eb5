"""The section of the report on single clips: the best and the worst."""

from pathlib import Path

from desed_task.errors import InputError
from desed_task.evaluation.outputs import Boxes
from desed_task.report.analysis import ClipFigures, best_and_worst, clip_figures
from desed_task.report.clip_pictures import Lane, Spectrogram, clip_roll, log_mel
from desed_task.report.parts import Block, Picture, ReportSystem, Section, Source, Text
from desed_task.report.tables import clip_table

INTRO = (
    "The clips with the highest and the lowest event-based F1 of {name}, and what every system "
    "says about them. Of equal ones the best have most true events, the worst least time in "
    "which true and detected events agree, then most errors."
)
SCORES = (
    "area: score from 0 to 1 in each row, with the F1 threshold dotted; bar at the foot of a "
    "row: detected events"
)
BOXES = "boxes: as high as their confidence, which is written in them"


def clips(source: Source) -> Section:
    """The best and the worst clips of the first system that decides."""
    title = "Best and worst clips"
    for system in source.systems:
        figures = clip_figures(system.metrics.scoring_input)
        if figures is not None:
            blocks = _chosen_blocks(source, system, figures)
            return Section("clips", title, INTRO.format(name=system.name), tuple(blocks))
    return Section("clips", title, "No system gave events at one threshold.", ())


def _chosen_blocks(source: Source, system: ReportSystem, figures: ClipFigures) -> list[Block]:
    """The clips in which this system is best and worst."""
    task = system.metrics.scoring_input
    names = list(task.truth.events)
    best, worst = best_and_worst(task, figures)
    clips = {f"best {k}": names[clip] for k, clip in enumerate(best, start=1)}
    clips |= {f"worst {k}": names[clip] for k, clip in enumerate(worst, start=1)}
    if not clips:
        return [Text("No clip has an event or a detection.")]
    blocks: list[Block] = [clip_table(clips, source.systems)]
    for rank, clip in clips.items():
        blocks += _clip_blocks(source, rank, clip)
    return blocks


def _clip_blocks(source: Source, rank: str, clip: str) -> list[Block]:
    """One clip's picture, and a remark where its sound is missing."""
    heard, problem = _sound(source, clip)
    lanes = [
        Lane(
            system.name,
            number,
            system.metrics.scoring_input,
            [of_class.f1_threshold for of_class in system.metrics.per_class.values()],
        )
        for number, system in enumerate(source.systems)
    ]
    blocks: list[Block] = [
        Text(f"{rank.capitalize()}: {clip}", heading=True),
        Picture(
            f"clip_{rank.replace(' ', '_')}.png",
            clip_roll(clip, lanes, heard),
            f"Clip {clip} over time: true events, and each system's scores and events.",
            f"Classes that are true or detected here. Grey: true events; {_legend(source)}. "
            "Dashed: the end of the clip, where events reach past it.",
        ),
    ]
    return blocks if problem is None else [*blocks, Text(problem)]


def _legend(source: Source) -> str:
    """What is drawn of the systems."""
    kinds = {type(system.metrics.scoring_input.scores) for system in source.systems}
    parts = [SCORES] if kinds - {Boxes, type(None)} else []
    if Boxes in kinds:
        parts.append(BOXES)
    if type(None) in kinds:
        parts.append("wide bars: detected events of a system without scores")
    return "; ".join(parts)


def _sound(source: Source, clip: str) -> tuple[Spectrogram | None, str | None]:
    """A clip's spectrogram, or why there is none."""
    if source.audio is None:
        return None, None
    path = audio_path(source.audio, clip)
    if path is None:
        return None, f"No spectrogram: the audio folder holds no file of clip {clip}."
    task = source.systems[0].metrics.scoring_input
    try:
        return log_mel(path, task.truth.durations[clip]), None
    except InputError as error:
        reason = str(error).replace(str(path), path.name)
        return None, f"No spectrogram: {reason}"


def audio_path(folder: Path, clip: str) -> Path | None:
    """The clip's file, with or without `.wav` behind its name; None if there is none."""
    candidates = (folder / clip, folder / f"{clip}.wav")
    return next((path for path in candidates if path.is_file()), None)
