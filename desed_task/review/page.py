"""The review page: one HTML file, whose sounds and spectrograms lie in a folder beside it."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from desed_task.errors import listing
from desed_task.files import write_file
from desed_task.review.places import Audio, Kind, Place
from desed_task.review.snippets import Snippets, ticks

logger = logging.getLogger(__name__)

PAGE = "review.html"
TABLE = "reviewed.tsv"
"""Name of the table that the page saves."""


def write_review(
    folder: Path,
    title: str,
    places: Sequence[Place],
    others: Iterable[Place],
    classes: Sequence[str],
    snippets: Snippets,
) -> Path:
    """Write `review.html`, and the sounds of its places; each file is complete when it appears.

    Args:
        folder: of the page.
        title: its heading.
        places: its rows, in this order.
        others: places that have no row; those that may be events are shown beside rows.
        classes: names that a place's class can be changed to.
        snippets: writes sounds,.

    Recordings that cannot be read are reported in a warning. Returns the path of the page.
    """
    names, problems = snippets.write(places)
    content = page_content(title, places, others, classes, names)
    content |= {"ticks": ticks(snippets.sample_rate), "folder": snippets.folder.name}
    environment = Environment(
        loader=PackageLoader("desed_task.review"), autoescape=True, undefined=StrictUndefined
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    page = environment.get_template(PAGE).render(title=title, content=content)
    write_file(folder / PAGE, page)
    snippets.remove_others(names.values())
    if problems:
        lost = sum(place not in names for place in places)
        title = f"{folder / PAGE}: {lost} events of recordings that cannot be read are not on it"
        logger.warning("%s", listing(title, sorted(problems.values()), what="recordings"))
    return folder / PAGE


def page_content(
    title: str,
    places: Sequence[Place],
    others: Iterable[Place],
    classes: Sequence[str],
    names: dict[Place, str],
) -> dict[str, Any]:
    """What the page's program reads, as plain values; times are seconds in the file.

    Places without a name have no files: they have no row.
    """
    rows = [place for place in places if place in names]
    hidden = [
        place
        for place in (*places, *others)
        if place not in names and place.kind.unanswered != "none"
    ]
    audios: dict[Audio, int] = {}
    kinds: dict[Kind, int] = {}
    labels = {name: index for index, name in enumerate(classes)}

    def common(place: Place) -> list[Any]:
        return [
            audios.setdefault(place.audio, len(audios)),
            kinds.setdefault(place.kind, len(kinds)),
            labels.setdefault(place.event_label, len(labels)),
            round(place.onset, 6),
            round(place.offset, 6),
        ]

    def row(place: Place) -> list[Any]:
        window = [round(time, 6) for time in place.window]
        return [*common(place), round(place.value, 4), names[place], *window]

    return {
        "title": title,
        "table": TABLE,
        "rows": [row(place) for place in rows],
        "others": [common(place) for place in hidden],
        "audios": [[audio.filename, round(audio.start, 6)] for audio in audios],
        "kinds": [list(kind) for kind in kinds],
        "labels": list(labels),
    }
